// A second click turns the order round. A row without the number stays last; equal ones stand by rank.
for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const number = (row, column) => parseFloat(row.cells[column].dataset.value);
  for (const head of heads.filter((each) => each.querySelector("button"))) {
    head.querySelector("button").addEventListener("click", () => {
      const turned = {ascending: "descending", descending: "ascending"}[head.getAttribute("aria-sort")];
      const order = turned || head.dataset.first, sign = order === "ascending" ? 1 : -1;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const compare = (a, b) => {
        const x = number(a, head.cellIndex), y = number(b, head.cellIndex);
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return sign * (x - y);
      };
      body.append(...[...body.rows].sort((a, b) => compare(a, b) || number(a, 0) - number(b, 0)));
    });
  }
}
