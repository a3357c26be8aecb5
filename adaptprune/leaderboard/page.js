"use strict";
// Sorts, filters and tells what is pointed at. Without it the page shows all rows in their order.
for (const board of document.querySelectorAll(".board")) {
  const body = board.querySelector("tbody");
  const rows = [...body.rows];
  const points = new Map();
  for (const point of board.querySelectorAll(".point")) points.set(point.dataset.row, point);
  const steps = [...points.values()].sort((one, other) => one.dataset.x - other.dataset.x);
  const seen = () => steps.filter((point) => !point.hasAttribute("hidden"));
  const told = board.querySelector(".told");
  const found = board.querySelector(".found");
  const fields = board.querySelector(".filters");

  const number = (row, column) => {
    const value = row.cells[column].dataset.value;
    return value === "" ? null : Number(value);
  };
  const compare = (column, falling) => (one, other) => {
    const [a, b] = [one.cells[column].dataset.value, other.cells[column].dataset.value];
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return falling ? -order : order;
  };
  for (const button of board.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      rows.sort(compare(head.cellIndex, falling));
      body.append(...rows);
    });
  }

  const sizes = [...board.querySelectorAll("thead th")].findIndex((h) => h.dataset.key === "Nonzeros");
  const filter = () => {
    const wanted = new FormData(fields);
    const text = wanted.get("text").trim().toLowerCase();
    const least = wanted.get("least") === "" ? -Infinity : 1e6 * wanted.get("least");
    const most = wanted.get("most") === "" ? Infinity : 1e6 * wanted.get("most");
    let count = 0;
    for (const row of rows) {
      const size = number(row, sizes);
      const fits = ["family", "model", "sparsity"].every(
        (key) => !wanted.get(key) || wanted.get(key) === row.dataset[key]);
      const shown = fits && row.dataset.text.toLowerCase().includes(text)
        && (size === null || (size >= least && size <= most));
      row.hidden = !shown;
      points.get(row.dataset.row)?.toggleAttribute("hidden", !shown);
      count += shown;
    }
    for (const point of steps) point.tabIndex = point === seen()[0] ? 0 : -1;
    board.classList.toggle("by-task", wanted.has("tasks"));
    found.textContent = `${count} of ${rows.length} rows`;
  };
  fields.addEventListener("input", filter);
  fields.addEventListener("reset", () => setTimeout(filter));
  fields.addEventListener("submit", (event) => event.preventDefault());
  filter();

  const tell = (point) => {
    told.textContent = point.getAttribute("aria-label");
    for (const row of rows) row.classList.toggle("told-row", row.dataset.row === point.dataset.row);
  };
  for (const point of steps) {
    point.addEventListener("focus", () => tell(point));
    point.addEventListener("mouseenter", () => tell(point));
    point.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!way) return;
      const all = seen();
      all[(all.indexOf(point) + way + all.length) % all.length].focus();
      event.preventDefault();
    });
  }
}
