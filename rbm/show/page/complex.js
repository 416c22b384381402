// Numbers of formulas: a double where all that went into it is real, and a pair [re, im] where something is complex.
//
// The type follows the formula and not the value, as in NumPy: the root of -1 is NaN, that of -1 + 0j is 1j.

const isPair = Array.isArray;
const pairOf = (x) => (isPair(x) ? x : [x, 0]);

/** Return a function of two numbers: `real` for two doubles, `complex` of pairs otherwise. */
const binary = (real, complex) => (a, b) => (isPair(a) || isPair(b) ? complex(pairOf(a), pairOf(b)) : real(a, b));
/** Return a function of one number. */
const unary = (real, complex) => (a) => (isPair(a) ? complex(a) : real(a));

const multiply = binary((a, b) => a * b, ([a, b], [c, d]) => [a * c - b * d, a * d + b * c]);

/** The quotient of Smith: by the larger part of the divisor, so that no square overflows. */
function quotient([a, b], [c, d]) {
  if (Math.abs(c) >= Math.abs(d)) {
    const ratio = d / c;
    const size = c + d * ratio;
    return [(a + b * ratio) / size, (b - a * ratio) / size];
  }
  const ratio = c / d;
  const size = c * ratio + d;
  return [(a * ratio + b) / size, (b * ratio - a) / size];
}
const divide = binary((a, b) => a / b, quotient);

const exponential = ([a, b]) => [Math.exp(a) * Math.cos(b), Math.exp(a) * Math.sin(b)];
const logarithm = ([a, b]) => [Math.log(modulus(a, b)), Math.atan2(b, a)];

function root([a, b]) {
  if (a === 0 && b === 0) return [0, b];
  const size = Math.sqrt(modulus(a, b) / 2 + Math.abs(a) / 2); // halves, so that the sum does not overflow
  const other = b / (2 * size);
  if (a >= 0) return [size, other];
  return [Math.abs(other), b < 0 || Object.is(b, -0) ? -size : size];
}

/** tanh by Kahan's formula, which loses nothing near its poles; far from the imaginary axis it is +-1. */
function hyperbolicTangent([a, b]) {
  if (Math.abs(a) > 20) return [Math.sign(a), 4 * Math.sin(b) * Math.cos(b) * Math.exp(-2 * Math.abs(a))];
  const t = Math.tan(b);
  const s = Math.sinh(a);
  const size = 1 + (1 + t * t) * s * s;
  return [((1 + t * t) * Math.sqrt(1 + s * s) * s) / size, t / size];
}

/** x^e for an integer e that is not 0, by repeated squaring, as rbm/parameters/powers.py. */
function integerPower(x, exponent) {
  let made = null;
  let rest = Math.abs(exponent);
  for (let square = x; ; square = multiply(square, square)) {
    if (rest % 2 === 1) made = made === null ? square : multiply(made, square);
    rest = Math.floor(rest / 2);
    if (rest === 0) return exponent > 0 ? made : divide(1, made);
  }
}

function complexPower(a, b) {
  const [x, y] = b;
  if (y === 0 && x === 0) return [1, 0];
  if (a[0] === 0 && a[1] === 0) return x > 0 ? [0, 0] : [NaN, NaN];
  if (y === 0 && Number.isInteger(x) && Math.abs(x) < 100) return integerPower(a, x);
  return exponential(multiply(b, logarithm(a)));
}

/** What a step of a formula may be called, by the number of its arguments; nothing else is ever called. */
const FUNCTIONS = [
  {},
  {
    positive: (a) => a,
    negative: unary((a) => -a, ([a, b]) => [-a, -b]),
    exp: unary(Math.exp, exponential),
    log: unary(Math.log, logarithm),
    sqrt: unary(Math.sqrt, root),
    sin: unary(Math.sin, ([a, b]) => [Math.sin(a) * Math.cosh(b), Math.cos(a) * Math.sinh(b)]),
    cos: unary(Math.cos, ([a, b]) => [Math.cos(a) * Math.cosh(b), -Math.sin(a) * Math.sinh(b)]),
    tan: unary(Math.tan, ([a, b]) => {
      const [x, y] = hyperbolicTangent([-b, a]); // tan z = -i tanh(i z)
      return [y, -x];
    }),
    sinh: unary(Math.sinh, ([a, b]) => [Math.sinh(a) * Math.cos(b), Math.cosh(a) * Math.sin(b)]),
    cosh: unary(Math.cosh, ([a, b]) => [Math.cosh(a) * Math.cos(b), Math.sinh(a) * Math.sin(b)]),
    tanh: unary(Math.tanh, hyperbolicTangent),
    absolute: unary(Math.abs, ([a, b]) => modulus(a, b)),
    real: unary((a) => a, ([a]) => a),
    imag: unary(() => 0, ([, b]) => b),
    conjugate: unary((a) => a, ([a, b]) => [a, -b]),
  },
  {
    add: binary((a, b) => a + b, ([a, b], [c, d]) => [a + c, b + d]),
    subtract: binary((a, b) => a - b, ([a, b], [c, d]) => [a - c, b - d]),
    multiply,
    divide,
    power: binary((a, b) => a ** b, complexPower),
  },
];
