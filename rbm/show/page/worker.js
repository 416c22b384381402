// The worker of the page: first the data of the model, then one request after the other, each answered by a curve.

let model = null;

self.onmessage = ({ data }) => {
  if (data.model) {
    model = rbm.readModel(data.model);
    return;
  }
  const { id, mu, parameter, count } = data;
  const started = performance.now();
  const made = rbm.curve(model, mu, parameter, count);
  self.postMessage({ id, curve: made, milliseconds: performance.now() - started });
};
