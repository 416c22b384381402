// Lower bounds beta(mu) of the stability constant: what rbm/stability/ evaluates online, for one point.
//
// Each entry of BOUNDS reads its arrays and returns (theta, mu) -> beta, whatever its sign; `stabilityBound` refuses
// what is not positive.

/** Return sum_q |theta_q| losses_q. */
const lossOf = (theta, losses) => sumOfProducts(moduli(theta), losses);

/** Return c: scales times the parts (Re theta, Im theta) at the positions. */
function partsAt(theta, positions, scales) {
  const qa = theta.re.length;
  return Float64Array.from(positions, (at, r) => scales[r] * (at < qa ? theta.re[at] : theta.im ? theta.im[at - qa] : 0));
}

/** Return what the parts that are not in a program cost: sum_q losses_q |Re theta_q| + losses_{Qa + q} |Im theta_q|. */
function lossOfParts(theta, losses) {
  let sum = 0;
  theta.re.forEach((x, q) => (sum += Math.abs(x) * losses[q]));
  theta.im?.forEach((y, q) => (sum += Math.abs(y) * losses[theta.re.length + q]));
  return sum;
}

const BOUNDS = {
  /** A number or a formula. */
  coefficient(stored, families, columns) {
    const coefficient = readCoefficients(stored.coefficient, families, columns, true);
    return (theta, mu, known) => {
      const beta = coefficient(mu, known);
      return beta.im[0] === 0 ? beta.re[0] : NaN;
    };
  },

  /** c min_q theta_q / reference_q - sum_q slack_q |theta_q|, without the terms `skew`, which may have any sign. */
  "min-theta"(stored) {
    const reference = readArray(stored.reference).re;
    const slack = readArray(stored.slack).re;
    return (theta) => {
      let least = Infinity;
      for (let q = 0; q < reference.length; q++) {
        if (theta.im && theta.im[q] !== 0) return NaN;
        if (stored.skew[q]) continue;
        if (!(theta.re[q] > 0)) return NaN;
        least = Math.min(least, theta.re[q] / reference[q]);
      }
      return stored.constant * least - lossOf(theta, slack);
    };
  },

  /** The distance of 0 from alpha + kappa t, over eigenvalues t beyond a cut and the interval of all others. */
  pencil(stored) {
    const [alphas, kappas] = [readArray(stored.alphas), readArray(stored.kappas)];
    const [eigenvalues, radii, losses] = ["eigenvalues", "radii", "losses"].map((name) => readArray(stored[name]).re);
    const [low, high] = stored.rest;
    return (theta) => {
      const alpha = dot(theta, 0, alphas, 0, theta.re.length);
      const kappa = dot(theta, 0, kappas, 0, theta.re.length);
      const size = modulus(...kappa);
      const unit = size > 0 ? size : 1;
      const nearest = -((alpha[0] / unit) * (kappa[0] / unit) + (alpha[1] / unit) * (kappa[1] / unit));
      const distance = (t) => modulus(alpha[0] + kappa[0] * t, alpha[1] + kappa[1] * t);
      let least = distance(Math.min(Math.max(nearest, low), high));
      for (let j = 0; j < radii.length; j++) least = Math.min(least, distance(eigenvalues[j]) - size * radii[j]);
      return least - lossOf(theta, losses);
    };
  },

  /** The best of K anchors: beta_k (1 - (1 + slack) times how far theta is from theta_k). */
  anchored(stored) {
    const [anchors, transform, remainder] = ["anchors", "transform", "remainder"].map((name) => readArray(stored[name]));
    const [constants, growths, norms] = ["constants", "growths", "norms"].map((name) => readArray(stored[name]).re);
    const qa = norms.length;
    return (theta) => {
      let best = -Infinity;
      for (let k = 0; k < constants.length; k++) {
        const delta = zeros(qa, true);
        addMultiple(delta, 0, theta, 0, qa, 1, 0);
        addMultiple(delta, 0, anchors, k * qa, qa, -1, 0);
        const rotated = (matrix) => {
          const made = zeros(matrix.shape[0], true);
          for (let l = 0; l < matrix.shape[0]; l++) [made.re[l], made.im[l]] = dot(delta, 0, matrix, l * qa, qa);
          return made;
        };
        const plain = lossOf(delta, norms) / constants[k];
        const others = moduli(rotated(remainder)).reduce((a, x) => a + x, 0);
        const natural = growths[k] * norm(rotated(transform)) + others / constants[k];
        best = Math.max(best, constants[k] * (1 - (1 + stored.slack) * Math.min(plain, natural)));
      }
      return best;
    };
  },

  /** Successive constraints: one linear program. */
  scm(stored) {
    const program = readWalk(stored.program);
    const [scales, losses] = [readArray(stored.scales).re, readArray(stored.losses).re];
    return (theta) => {
      const found = walkBound(program, partsAt(theta, stored.positions, scales));
      const loss = lossOfParts(theta, losses);
      return loss === 0 ? found : found - loss - 4 * ROUND_OFF * Math.abs(found - loss);
    };
  },

  /** Natural norms: the linear program of the anchor that promises most. */
  "natural-norm"(stored) {
    const anchors = stored.anchors.map((anchor) => ({
      constant: anchor.constant,
      program: readWalk(anchor.program),
      scales: readArray(anchor.scales).re,
      losses: readArray(anchor.losses).re,
      quotients: readArray(anchor.quotients).re,
    }));
    const one = new Float64Array(stored.positions.length).fill(1);
    return (theta) => {
      const c = partsAt(theta, stored.positions, one);
      let [chosen, most] = [anchors[0], -Infinity];
      for (const anchor of anchors) {
        let promise = Infinity;
        for (let at = 0; at < anchor.quotients.length; at += c.length) {
          promise = Math.min(promise, sumOfProducts(c, anchor.quotients, at));
        }
        if (promise > most) [chosen, most] = [anchor, promise];
      }
      const found = walkBound(chosen.program, c.map((x, r) => x * chosen.scales[r])) - lossOfParts(theta, chosen.losses);
      return chosen.constant * found - 4 * ROUND_OFF * chosen.constant * Math.abs(found);
    };
  },
};

/** Return (theta, mu, known) -> beta > 0; an error where it is not positive. */
function stabilityBound(stored, families, columns) {
  if (!Object.hasOwn(BOUNDS, stored.kind)) throw new Error("the data of this page is damaged: no stability bound");
  const bound = BOUNDS[stored.kind](stored, families, columns);
  return (theta, mu, known) => {
    const beta = bound(theta, mu, known);
    if (!(beta > 0 && beta < Infinity)) throw new Error(`the stability bound (${stored.kind}) is not positive here, so there is no error bound`);
    return beta;
  };
}
