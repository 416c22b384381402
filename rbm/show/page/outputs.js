// Outputs and bounds of their errors: linear, compliant and quadratic (rbm/reduced/outputs.py, compliant.py).
//
// Each entry of OUTPUTS reads its arrays and returns at => {value: [re, im], bound}, for at = {mu, theta, gamma, size,
// sizes, beta, error, known}: sizes are |gamma_n|, size is ||gamma||_2, error the bound of the solution.

/** Return the bound, and the smallest normal number more where the products of small numbers may have lost it. */
const aboveUnderflow = (bound, norm, error) => (error > 0 && norm > 0 ? bound + TINY : bound);

/** Return sum_l weights_l row_l of a matrix of doubles, as a Float64Array. */
function weighted(weights, matrix, columns) {
  const made = new Float64Array(columns);
  weights.forEach((w, l) => {
    for (let n = 0; n < columns; n++) made[n] += w * matrix[l * columns + n];
  });
  return made;
}

/** Return gamma^H (vector), as [re, im]. */
function conjugateProduct(gamma, vector) {
  const conj = { re: gamma.re, im: gamma.im ? gamma.im.map((x) => -x) : null };
  return dot(conj, 0, vector, 0, gamma.re.length);
}

/** Return gamma^H A_q gamma of matrix number q of (Q, N, N), as [re, im]. */
function formOf(matrices, q, gamma) {
  const n = gamma.re.length;
  const sum = [0, 0];
  for (let i = 0; i < n; i++) {
    const [re, im] = dot(matrices, (q * n + i) * n, gamma, 0, n);
    const y = gamma.im ? gamma.im[i] : 0;
    sum[0] += gamma.re[i] * re + y * im;
    sum[1] += gamma.re[i] * im - y * re;
  }
  return sum;
}

/** s = sum_q psi_q l_q^T Z gamma + offset, with ||l|| error + rounding. */
function linear(stored, families, columns) {
  const psiOf = readCoefficients(stored.coefficients, families, columns, true);
  const offset = stored.offset && {
    coefficients: readCoefficients(stored.offset.coefficients, families, columns, true),
    numbers: readArray(stored.offset.numbers),
    rounding: readArray(stored.offset.rounding).re,
    constant: stored.offset.constant,
  };
  const [vectors, dual] = [readArray(stored.vectors), readArray(stored.dual)];
  const [rounding, defects] = [readArray(stored.rounding).re, readArray(stored.defects).re];
  return ({ mu, gamma, sizes, error, known }) => {
    const psi = psiOf(mu, known);
    const weights = moduli(psi);
    const value = dot(combination(psi, vectors, true), 0, gamma, 0, gamma.re.length);
    let off = 0;
    if (offset) {
      const c = offset.coefficients(mu, known);
      const [re, im] = dot(c, 0, offset.numbers, 0, c.re.length);
      value[0] += re;
      value[1] += im;
      off = sumOfProducts(moduli(c), offset.rounding) + offset.constant;
    }
    const image = zeros(dual.shape[0], true);
    for (let i = 0; i < dual.shape[0]; i++) [image.re[i], image.im[i]] = dot(dual, i * psi.re.length, psi, 0, psi.re.length);
    const size = (1 + 1e-12) * (norm(image) + sumOfProducts(weights, defects)) + stored.underflow;
    const ofSums = sumOfProducts(weighted(weights, rounding, gamma.re.length), sizes) + off;
    const bound = aboveUnderflow(size * error + ofSums, size, error);
    return { value: stored.real ? [value[0], 0] : value, bound, ofSums, psi, weights };
  };
}

/** l = conj f of a Hermitian model: |s - s_N| <= beta error^2 + rounding, or the plain bound where that is smaller. */
function compliant(stored, families, columns) {
  const plainOf = linear(stored, families, columns);
  const [operators, rhs] = [readArray(stored.operators), readArray(stored.rhs)];
  const [absolute, operatorErrors, rhsErrors, skew, mismatch] = ["absolute", "operator_errors", "rhs_errors", "skew", "mismatch"].map(
    (name) => readArray(stored[name]).re,
  );
  return (at) => {
    const { theta, gamma, size, sizes, beta, error } = at;
    const plain = plainOf(at);
    const n = gamma.re.length;
    const isReal = (array) => array.im === null || array.im.every((x) => x === 0);
    if (!(isReal(theta) && (stored.constant || isReal(plain.psi)))) return plain;
    const conj = { ...plain.psi, im: plain.psi.im.map((x) => -x) };
    const left = conjugateProduct(gamma, combination(conj, rhs, true)); // gamma^H (f_N - A_N gamma)
    let off = sumOfProducts(weighted(plain.weights, rhsErrors, n), sizes) + plain.ofSums;
    const u = stored.rounding_unit;
    for (let q = 0; q < theta.re.length; q++) {
      const [re, im] = formOf(operators, q, gamma);
      left[0] -= theta.re[q] * re;
      left[1] -= theta.re[q] * im;
      let ofSum = 0;
      for (let i = 0; i < n; i++) ofSum += sizes[i] * sumOfProducts(sizes, absolute, (q * n + i) * n);
      const root = sumOfProducts(sizes, operatorErrors, q * n);
      off += Math.abs(theta.re[q]) * (u * ofSum + (1 + u) * root * root);
    }
    const ofSkew = lossOf(theta, skew) * (stored.growth * size + error);
    const first = (sumOfProducts(plain.weights, mismatch) + ofSkew) * error;
    const sharp = (1 + 16 * ROUND_OFF) * (beta * error * error + (1 + u) * first + modulus(...left) + off);
    const bound = aboveUnderflow(sharp, plain.bound, error);
    return { ...plain, bound: bound < plain.bound ? bound : plain.bound };
  };
}

/** s = sum_q psi_q z^H Q_q z, with sum_q |psi_q| ||Q_q|| (2 ||z|| + error) error + rounding. */
function quadratic(stored, families, columns) {
  const psiOf = readCoefficients(stored.coefficients, families, columns, true);
  const matrices = readArray(stored.matrices);
  const [norms, rounding] = [readArray(stored.norms).re, readArray(stored.rounding).re];
  return ({ mu, gamma, size, error, known }) => {
    const psi = psiOf(mu, known);
    const weights = moduli(psi);
    const value = [0, 0];
    for (let q = 0; q < psi.re.length; q++) {
      const [form] = formOf(matrices, q, gamma); // of a Hermitian matrix: real
      value[0] += psi.re[q] * form;
      value[1] += psi.im[q] * form;
    }
    const weight = sumOfProducts(weights, norms);
    const length = stored.growth * size;
    const ofError = (2 * length + error) * error * (1 + 1e-9);
    const ofMatrices = sumOfProducts(weights, rounding) * length * length * (1 + 1e-9);
    const bound = weight * (ofError + stored.rounding_unit * length * length) + ofMatrices;
    return { value, bound: aboveUnderflow(bound, weight, error) };
  };
}

const OUTPUTS = { linear, compliant, quadratic };
