// The reduced system: LU with partial pivoting where it is square, Householder QR where it is tall.
//
// A matrix (k, n) and its right-hand side are one array (k, n + 1), row by row, which is overwritten.

/** Return gamma (n,) of the system [matrix | rhs] (k, n + 1); an error where it is singular. */
function solved(system, k, n) {
  if (k === n) eliminate(system, n);
  else triangularize(system, k, n);
  return substituteBack(system, n);
}

/** Make a square system triangular by Gaussian elimination with partial pivoting. */
function eliminate(system, n) {
  const { re, im } = system;
  const width = n + 1;
  const size = (i, j) => Math.abs(re[i * width + j]) + (im ? Math.abs(im[i * width + j]) : 0);
  for (let j = 0; j < n; j++) {
    let pivot = j;
    for (let i = j + 1; i < n; i++) if (size(i, j) > size(pivot, j)) pivot = i;
    if (!(size(pivot, j) > 0)) throw new Error("the reduced system is singular here");
    if (pivot !== j) {
      for (const part of im ? [re, im] : [re]) {
        for (let i = j; i < width; i++) {
          const kept = part[j * width + i];
          part[j * width + i] = part[pivot * width + i];
          part[pivot * width + i] = kept;
        }
      }
    }
    const diagonal = [re[j * width + j], im ? im[j * width + j] : 0];
    for (let i = j + 1; i < n; i++) {
      const at = i * width + j;
      const [x, y] = im ? quotient([re[at], im[at]], diagonal) : [re[at] / diagonal[0], 0];
      if (x !== 0 || y !== 0) addMultiple(system, at + 1, system, j * width + j + 1, n - j, -x, -y);
    }
  }
}

/** Make a tall system triangular by reflections I - tau v v^H, one for each column. */
function triangularize(system, k, n) {
  const { re, im } = system;
  const width = n + 1;
  for (let j = 0; j < n; j++) {
    const v = zeros(k - j, im !== null);
    for (let i = j; i < k; i++) {
      v.re[i - j] = re[i * width + j];
      if (im) v.im[i - j] = im[i * width + j];
    }
    const length = norm(v);
    if (!(length > 0)) throw new Error("the reduced system is singular here");
    // v = x + e^{i arg x_1} ||x|| e_1: no digits are lost
    const first = modulus(v.re[0], im ? v.im[0] : 0);
    const sign = first > 0 ? [v.re[0] / first, im ? v.im[0] / first : 0] : [1, 0];
    v.re[0] += sign[0] * length;
    if (im) v.im[0] += sign[1] * length;
    const tau = 1 / (length * (length + first)); // 2 / ||v||^2
    // a basis vector has no residual terms of later ones: columns are a staircase, with zeros below
    let end = k;
    while (end > j + 1 && v.re[end - 1 - j] === 0 && !(im && v.im[end - 1 - j] !== 0)) end--;
    const w = zeros(width - j, im !== null); // v^H times the rows
    for (let i = j; i < end; i++) addMultiple(w, 0, system, i * width + j, width - j, v.re[i - j], im ? -v.im[i - j] : 0);
    for (let i = j; i < end; i++) {
      addMultiple(system, i * width + j, w, 0, width - j, -tau * v.re[i - j], im ? -tau * v.im[i - j] : 0);
    }
  }
}

/** Return the solution (n,) of a triangular system, of which only the upper triangle is read. */
function substituteBack(system, n) {
  const { re, im } = system;
  const width = n + 1;
  const made = zeros(n, im !== null);
  for (let i = n - 1; i >= 0; i--) {
    const [x, y] = dot(system, i * width + i + 1, made, i + 1, n - i - 1);
    const at = i * width + i;
    const right = [re[i * width + n] - x, im ? im[i * width + n] - y : 0];
    const [a, b] = quotient(right, [re[at], im ? im[at] : 0]);
    if (!(Number.isFinite(a) && Number.isFinite(b))) throw new Error("the reduced system is singular here");
    made.re[i] = a;
    if (im) made.im[i] = b;
  }
  return made;
}

/** Return [sum_q theta_q A_q | sum_q phi_q f_q] (k, n + 1) of operators (Qa, k, n) and right-hand sides (Qf, k). */
function assembled(operators, rhs, theta, phi, isComplex) {
  const [terms, k, n] = operators.shape;
  const made = zeros(k * (n + 1), isComplex);
  for (let i = 0; i < k; i++) {
    const at = i * (n + 1);
    for (let q = 0; q < terms; q++) addMultiple(made, at, operators, (q * k + i) * n, n, theta.re[q], isComplex ? theta.im[q] : 0);
    for (let q = 0; q < phi.re.length; q++) addMultiple(made, at + n, rhs, q * k + i, 1, phi.re[q], isComplex ? phi.im[q] : 0);
  }
  return made;
}
