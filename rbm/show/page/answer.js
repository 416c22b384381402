// The answer at one parameter point: reduced coefficients, the certified bound of the solution, and the outputs.

/** Return the model that the data of a page describes; an error where the data is damaged. */
function readModel(data) {
  const columns = data.parameters.length;
  const families = readFamilies(data.families, columns);
  const read = (stored) => readCoefficients(stored, families, columns, data.complex);
  const { estimator, interpolation } = data;
  return {
    ...data,
    theta: read(data.operator_coefficients),
    phi: read(data.rhs_coefficients),
    operators: readArray(data.operators),
    rhs: readArray(data.rhs),
    estimator: { ...estimator, rows: readArray(estimator.rows), weights: readArray(estimator.weights).re },
    stability: stabilityBound(data.stability, families, columns),
    interpolation: interpolation && { ...interpolation, errors: readCoefficients(interpolation.coefficients, families, columns, true) },
    outputs: data.outputs.map((output) => ({ ...output, at: OUTPUTS[output.kind](output, families, columns) })),
  };
}

/**
 * Return {gamma, size, beta, value, floor, bound, resolved, outputs: [{value: [re, im], bound}]} at a point mu (p,).
 *
 * bound = value + floor >= ||u(mu) - Z gamma||_P. Throws an error, one sentence, where there is no certified answer.
 */
function answer(model, mu) {
  checkPoint(model, mu);
  const known = {};
  const theta = model.theta(mu, known);
  const phi = model.phi(mu, known);
  const [, k, n] = model.operators.shape;
  const gamma = solved(assembled(model.operators, model.rhs, theta, phi, model.complex), k, n);
  const size = norm(gamma);
  const beta = model.stability(theta, mu, known);
  const residual = residualNorm(model.estimator, theta, phi, gamma);
  const { divisor, error } = interpolated(model, mu, known, beta, size);
  const floor = residual.floor + error;
  const inverse = 1 / divisor;
  const found = { value: residual.value * inverse, floor: floor * inverse, resolved: residual.value >= RESOLVED * floor };
  const bound = found.value + found.floor;
  if (!Number.isFinite(bound)) throw new Error("the error bound is not finite here");
  const at = { mu, theta, gamma, size, sizes: moduli(gamma), beta, error: bound, known };
  const outputs = model.outputs.map((output) => {
    const made = output.at(at);
    if (![...made.value, made.bound].every(Number.isFinite)) throw new Error(`the output ${output.name} is not finite here`);
    return { value: made.value, bound: made.bound };
  });
  return { gamma, size, beta, ...found, bound, outputs };
}

/** Throw an error unless mu is a point of the parameter space. */
function checkPoint({ parameters }, mu) {
  parameters.forEach(({ name, low, high }, j) => {
    if (!Number.isFinite(mu[j])) throw new Error(`${name} is not a number`);
    if (!(low <= mu[j] && mu[j] <= high)) throw new Error(`${name} = ${mu[j]} is outside ${low} to ${high}, where nothing is certified`);
  });
}

/** Return what the residual norm is divided by, and what is added to its floor: of models that were interpolated. */
function interpolated({ interpolation, size: count }, mu, known, beta, size) {
  if (!interpolation) return { divisor: beta, error: 0 };
  const { re, im } = interpolation.errors(mu, known);
  const [ofOperator, ofRhs] = re;
  if (!(ofOperator >= 0 && ofRhs >= 0 && im.every((y) => y === 0))) throw new Error("the interpolation error is not known here");
  if (!(ofOperator < beta)) throw new Error("the interpolation error is not below the stability bound here");
  return {
    divisor: (1 - 4 * ROUND_OFF) * (beta - ofOperator),
    error: (1 + (count + 8) * ROUND_OFF) * (ofRhs + ofOperator * interpolation.growth * size),
  };
}
