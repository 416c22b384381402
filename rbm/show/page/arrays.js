// Arrays of doubles, real or complex, and the few loops that everything else is made of.
//
// An array is {shape, re, im}: two Float64Arrays, row by row; im is null where all numbers are real. Whether a working
// array has an imaginary part is decided once for a model, so that real models cost what real numbers cost.

/** u, the largest relative error of one rounded operation. */
const ROUND_OFF = 2 ** -53;
/** The smallest normal number. */
const TINY = 2 ** -1022;

/** Return the doubles that a text in base64 holds, eight bytes each, the lowest first. */
function doublesOf(text) {
  const bytes = atob(text);
  const view = new DataView(new ArrayBuffer(bytes.length));
  for (let i = 0; i < bytes.length; i++) view.setUint8(i, bytes.charCodeAt(i));
  const made = new Float64Array(bytes.length / 8);
  for (let i = 0; i < made.length; i++) made[i] = view.getFloat64(8 * i, true);
  return made;
}

/** Return the array that {shape, re, im} in the data of the page stands for. */
function readArray(stored) {
  const made = { shape: stored.shape, re: doublesOf(stored.re), im: stored.im ? doublesOf(stored.im) : null };
  const count = stored.shape.reduce((a, b) => a * b, 1);
  if (made.re.length !== count || (made.im && made.im.length !== count)) throw new Error("the data of this page is damaged");
  return made;
}

/** Return a vector of zeros. */
function zeros(count, isComplex) {
  return { shape: [count], re: new Float64Array(count), im: isComplex ? new Float64Array(count) : null };
}

/** Add (re + i im) times `count` numbers of `from`, beginning at `start`, to those of `to` that begin at `at`. */
function addMultiple(to, at, from, start, count, re, im) {
  const { re: x, im: y } = to;
  const { re: a, im: b } = from;
  for (let i = 0; i < count; i++) x[at + i] += re * a[start + i];
  if (y === null) return;
  if (im !== 0) for (let i = 0; i < count; i++) y[at + i] += im * a[start + i];
  if (b === null) return;
  for (let i = 0; i < count; i++) {
    x[at + i] -= im * b[start + i];
    y[at + i] += re * b[start + i];
  }
}

/** Return sum_q weights_q rows_q for the rows of an array, as a vector of all numbers of a row. */
function combination(weights, rows, isComplex) {
  const length = rows.shape[0] ? rows.re.length / rows.shape[0] : 0;
  const made = zeros(length, isComplex);
  for (let q = 0; q < rows.shape[0]; q++) {
    addMultiple(made, 0, rows, q * length, length, weights.re[q], weights.im ? weights.im[q] : 0);
  }
  return made;
}

/** Return sum_i a_i b_i as [re, im], of `count` numbers from `at` in a and from `start` in b; no conjugation. */
function dot(a, at, b, start, count) {
  let re = 0;
  let im = 0;
  for (let i = 0; i < count; i++) re += a.re[at + i] * b.re[start + i];
  if (a.im) for (let i = 0; i < count; i++) im += a.im[at + i] * b.re[start + i];
  if (b.im) for (let i = 0; i < count; i++) im += a.re[at + i] * b.im[start + i];
  if (a.im && b.im) for (let i = 0; i < count; i++) re -= a.im[at + i] * b.im[start + i];
  return [re, im];
}

/** Return |x + i y|, without squares that overflow or vanish; |x| itself where y is 0. */
function modulus(x, y) {
  const a = Math.abs(x);
  const b = Math.abs(y);
  const [large, small] = a >= b ? [a, b] : [b, a];
  if (small === 0 || !Number.isFinite(large)) return large + small;
  const ratio = small / large;
  return large * Math.sqrt(1 + ratio * ratio);
}

/** Return |x_i| of all numbers of an array, as a Float64Array. */
function moduli(array) {
  return array.im === null ? array.re.map(Math.abs) : array.re.map((x, i) => modulus(x, array.im[i]));
}

/** Return the Euclidean norm of a vector, scaled by its largest entry: no square overflows or vanishes. */
function norm(vector) {
  let largest = 0;
  for (const part of [vector.re, vector.im ?? []]) {
    for (const x of part) {
      if (!(Math.abs(x) <= largest)) largest = Math.abs(x); // NaN, too
    }
  }
  if (largest === 0 || !Number.isFinite(largest)) return largest;
  let sum = 0;
  for (const part of [vector.re, vector.im ?? []]) {
    for (const x of part) {
      const share = x / largest;
      sum += share * share; // not share ** 2, whose last bit is the browser's
    }
  }
  return largest * Math.sqrt(sum);
}

/** Return sum_i a_i b_i of two Float64Arrays, over all of a. */
function sumOfProducts(a, b, start = 0) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[start + i];
  return sum;
}
