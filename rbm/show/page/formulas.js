// Coefficients theta_q(mu): formulas as checked programs on a stack, and families of interpolated coefficients.
//
// A step is ["column", j] (push a parameter), ["number", re] or ["number", re, im] (push it), ["integer power", e], or
// ["apply", arguments, name] of a function of FUNCTIONS. Nothing of a formula's text is ever executed: Python checks
// and compiles it, and this file walks through the steps.

/** Throw an error unless the steps are a formula in so many parameters; return them. */
function checkedProgram(steps, columns) {
  let height = 0;
  for (const [kind, ...operands] of steps) {
    const [a, b] = operands;
    let takes = 0;
    let good = false;
    if (kind === "column") good = Number.isInteger(a) && a >= 0 && a < columns;
    else if (kind === "number") good = operands.length <= 2 && operands.every(Number.isFinite);
    else if (kind === "integer power") {
      takes = 1;
      good = Number.isInteger(a) && a !== 0 && Math.abs(a) <= 16;
    } else if (kind === "apply") {
      takes = a;
      good = (a === 1 || a === 2) && Object.hasOwn(FUNCTIONS[a], b);
    }
    if (!good || height < takes) throw new Error("the data of this page is damaged: no formula");
    height += 1 - takes;
  }
  if (height !== 1) throw new Error("the data of this page is damaged: no formula");
  return steps;
}

/** Return the value of a formula at one point mu, a number or a pair. */
function evaluated(steps, mu) {
  const stack = [];
  for (const [kind, a, b] of steps) {
    if (kind === "column") stack.push(mu[a]);
    else if (kind === "number") stack.push(b === undefined ? a : [a, b]);
    else if (kind === "integer power") stack.push(integerPower(stack.pop(), a));
    else {
      const last = stack.pop();
      stack.push(a === 1 ? FUNCTIONS[1][b](last) : FUNCTIONS[2][b](stack.pop(), last));
    }
  }
  return stack[0];
}

/** Solve B C x = g in place for triangular matrices (m, m), B with a diagonal of ones; g are numbers or pairs. */
function interpolationWeights(family, g) {
  const entry = (a, i, j) => {
    const at = i * g.length + j;
    return a.im ? [a.re[at], a.im[at]] : a.re[at];
  };
  const { subtract } = FUNCTIONS[2];
  for (let i = 0; i < g.length; i++) {
    for (let j = 0; j < i; j++) g[i] = subtract(g[i], multiply(entry(family.lower, i, j), g[j]));
  }
  for (let i = g.length - 1; i >= 0; i--) {
    for (let j = i + 1; j < g.length; j++) g[i] = subtract(g[i], multiply(entry(family.upper, i, j), g[j]));
    g[i] = divide(g[i], entry(family.upper, i, i));
  }
  return g;
}

/** Return the families of a model, read and checked. */
function readFamilies(stored, columns) {
  return stored.map(({ functions, lower, upper }) => ({
    functions: functions.map((f) => checkedProgram(f, columns)),
    lower: readArray(lower),
    upper: readArray(upper),
  }));
}

/** Return coefficients as a function: (mu, known) -> vector (Q,); `known` keeps the weights of families at one mu. */
function readCoefficients(stored, families, columns, isComplex) {
  const sources = stored.map(({ program, family, term, text }) => {
    const good = family === undefined || (family in families && term in families[family].functions);
    if (!good) throw new Error("the data of this page is damaged: no family");
    return { program: checkedProgram(program, columns), family, term, text };
  });
  return (mu, known) => {
    const made = zeros(sources.length, isComplex);
    sources.forEach(({ program, family, term, text }, q) => {
      let value = evaluated(program, mu);
      if (family !== undefined) {
        const of = families[family];
        known[family] ??= interpolationWeights(of, of.functions.map((f) => evaluated(f, mu)));
        value = multiply(value, known[family][term]);
      }
      const [re, im] = pairOf(value);
      if (!(Number.isFinite(re) && Number.isFinite(im))) throw new Error(`the coefficient ${text} is not a finite number here`);
      made.re[q] = re;
      if (made.im) made.im[q] = im;
    });
    return made;
  };
}
