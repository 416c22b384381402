// Elements of HTML and SVG, made one by one: no text of the model is ever read as markup.

/** Return an element with attributes and children; texts become text nodes. */
function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Return an element of SVG. */
function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Set attributes of an element; those that did not change are left alone. */
function set(target, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (target.getAttribute(key) !== String(value)) target.setAttribute(key, value);
  }
}

const byId = (id) => document.getElementById(id);

/** Return the path through points, with gaps where one is not a number. */
function pathThrough(xs, ys) {
  let pen = "M";
  let text = "";
  for (let i = 0; i < xs.length; i++) {
    if (!Number.isFinite(ys[i])) pen = "M";
    else {
      text += `${pen}${xs[i].toFixed(1)} ${ys[i].toFixed(1)}`;
      pen = "L";
    }
  }
  return text;
}

/** Return the path around a band from `low` to `high`, one closed piece for each run without gaps. */
function pathAround(xs, low, high) {
  let text = "";
  for (let i = 0; i < xs.length; i++) {
    if (!Number.isFinite(low[i])) continue;
    let end = i;
    while (end + 1 < xs.length && Number.isFinite(low[end + 1])) end++;
    const run = Array.from({ length: end - i + 1 }, (_, k) => i + k);
    const there = run.map((k) => `${xs[k].toFixed(1)} ${high[k].toFixed(1)}`);
    const back = run.reverse().map((k) => `${xs[k].toFixed(1)} ${low[k].toFixed(1)}`);
    text += `M${[...there, ...back].join("L")}Z`;
    i = end;
  }
  return text;
}
