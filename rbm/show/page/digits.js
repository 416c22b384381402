// Numbers with as many digits as their bound allows: 1.2346 with an error of at most 0.0013.

const { modulus, ROUND_OFF } = rbm;

/** Return x with so many significant digits, 1.2e-5 as 1.2 × 10⁻⁵; `up` rounds to a larger number. */
function shortNumber(x, digits = 3, up = false) {
  if (!Number.isFinite(x)) return "none";
  if (x === 0) return "0";
  let text = x.toExponential(digits - 1);
  if (up && Number(text) < x) {
    const [size, exponent] = text.split("e").map(Number);
    text = Number(`${(size + 10 ** (1 - digits)).toFixed(digits - 1)}e${exponent}`).toExponential(digits - 1);
  }
  const [size, exponent] = text.split("e");
  if (exponent > -5 && exponent < 6) return plain(Number(text), Math.max(digits - 1 - Number(exponent), 0));
  return `${minus(size)} × 10${raised(Number(exponent))}`;
}

/** Return the text of a number with so many decimals, and a true minus sign. */
const plain = (x, decimals) => minus(x.toFixed(decimals));
const minus = (text) => text.replace("-", "−");
const raised = (n) => [...String(n)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");

/**
 * Return {value, bound, scale, moved}: texts of a number and of its bound, with two digits of the bound.
 *
 * What rounding of the shown value moves is added to the bound, which is rounded up. Both are about 10^exponent times
 * what is shown; `scale` is "" or " × 10⁻⁷".
 */
function withBound(x, bound, largest = Math.abs(x)) {
  const size = Math.max(largest, bound);
  const order = size > 0 ? Math.floor(Math.log10(size)) : 0;
  const exponent = order < -4 || order > 6 ? order : 0;
  // at most 15 digits: more are not those of a double
  const lowest = Math.max(bound > 0 ? Math.floor(Math.log10(bound)) - 1 : -Infinity, order - 14);
  const decimals = Math.min(Math.max(exponent - lowest, 0), 60);
  const shift = 10 ** -exponent;
  const shown = Number((x * shift).toFixed(decimals));
  const moved = Math.abs(shown - x * shift) + 4 * ROUND_OFF * Math.abs(x * shift);
  const step = 10 ** -decimals;
  const total = (bound * shift + moved) * (1 + 8 * ROUND_OFF);
  const above = Math.ceil(total / step) * step;
  return {
    value: plain(x * shift, decimals),
    bound: plain(above, decimals),
    scale: exponent ? ` × 10${raised(exponent)}` : "",
    moved: moved / shift,
  };
}

/** Return the texts {value, bound} of an output: real, or a + b i, with the same digits for both parts. */
function outputTexts([re, im], bound, isComplex, unit) {
  const largest = Math.max(Math.abs(re), isComplex ? Math.abs(im) : 0);
  const first = withBound(re, bound, largest);
  const after = first.scale + (unit ? ` ${unit}` : "");
  if (!isComplex) return { value: first.value + after, bound: first.bound + after };
  const second = withBound(im, bound, largest);
  const sign = second.value.startsWith("−") ? "−" : "+";
  // a narrow screen breaks the line before the sign, and nowhere else
  const pair = `${first.value} ${sign}\u00a0${second.value.replace("−", "")}\u00a0i`;
  const wide = withBound(0, bound + first.moved + second.moved, largest);
  return { value: (first.scale ? `(${pair})` : pair) + after, bound: wide.bound + after };
}
