// Who computes curves: a worker, made of the scripts of this page, one request at a time; the last one asked for wins.
// Where a browser allows no worker to a file, the page itself does it, between two frames.

class Curves {
  constructor(data, model, received) {
    this.model = model;
    this.received = received;
    this.busy = false;
    this.next = null;
    this.count = 0;
    try {
      const url = URL.createObjectURL(new Blob([byId("worker").textContent], { type: "text/javascript" }));
      this.worker = new Worker(url);
      this.worker.onmessage = ({ data: { curve, milliseconds } }) => this.done(curve, milliseconds);
      this.worker.onerror = () => this.withoutWorker();
      this.worker.postMessage({ model: data });
    } catch {
      this.worker = null;
    }
  }

  /** Ask for the curve over parameter number `parameter` through mu, with `count` points. */
  ask(mu, parameter, count) {
    this.next = { mu: [...mu], parameter, count };
    if (!this.busy) this.send();
  }

  send() {
    this.asked = this.next;
    this.next = null;
    this.busy = true;
    if (this.worker) this.worker.postMessage({ id: ++this.count, ...this.asked });
    else setTimeout(() => this.compute(this.asked));
  }

  compute({ mu, parameter, count }) {
    const started = performance.now();
    const made = rbm.curve(this.model, mu, parameter, Math.min(count, 61));
    this.done(made, performance.now() - started);
  }

  withoutWorker() {
    this.worker = null;
    if (this.busy) setTimeout(() => this.compute(this.asked));
  }

  done(curve, milliseconds) {
    this.busy = false;
    this.received(curve, this.asked, milliseconds);
    if (this.next) this.send();
  }
}
