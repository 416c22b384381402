// E_onb: the norm of the residual R c by plain sums, and the floor below which rounding hides it.
//
// R (k, m) is upper triangular up to dependent columns: of each row only the columns from `starts[i]` on are kept. The
// weights and constants of the floor are proved for these sums in rbm/show/page/floors.py.

/** An estimate is resolved if it is at least this many floors: it is then right to 10 %. */
const RESOLVED = 11;

/** Return c (m,) = (phi, then for each n: -gamma_n theta_1 .. -gamma_n theta_Qa). */
function residualCoefficients(theta, phi, gamma) {
  const terms = theta.re.length;
  const made = zeros(phi.re.length + terms * gamma.re.length, phi.im !== null);
  addMultiple(made, 0, phi, 0, phi.re.length, 1, 0);
  for (let n = 0; n < gamma.re.length; n++) {
    const im = gamma.im ? -gamma.im[n] : 0;
    addMultiple(made, phi.re.length + n * terms, theta, 0, terms, -gamma.re[n], im);
  }
  return made;
}

/** Return {value, floor} of ||R c||: | value - exact | <= floor. */
function residualNorm(estimator, theta, phi, gamma) {
  const { rows, starts, weights, relative, constant } = estimator;
  const c = residualCoefficients(theta, phi, gamma);
  const image = zeros(starts.length, c.im !== null);
  let at = 0;
  starts.forEach((start, i) => {
    const count = c.re.length - start;
    const [re, im] = dot(rows, at, c, start, count);
    image.re[i] = re;
    if (image.im) image.im[i] = im;
    at += count;
  });
  const value = norm(image);
  const floor = isPresent(estimator, theta, phi, gamma) ? sumOfProducts(moduli(c), weights) + relative * value + constant : 0;
  return { value, floor };
}

/** Return whether any term of the residual is not zero; the numbers decide, not their products, which may underflow. */
function isPresent({ weights }, theta, phi, gamma) {
  const there = (array, i) => array.re[i] !== 0 || (array.im !== null && array.im[i] !== 0);
  for (let q = 0; q < phi.re.length; q++) if (weights[q] > 0 && there(phi, q)) return true;
  for (let n = 0, at = phi.re.length; n < gamma.re.length; n++) {
    for (let q = 0; q < theta.re.length; q++, at++) {
      if (weights[at] > 0 && there(gamma, n) && there(theta, q)) return true;
    }
  }
  return false;
}
