function render() {
  renderGallery();
  renderClasses();
  renderViewer();
}

document.documentElement.style.setProperty("--label-background", data.colours[0]);
for (const id of ["opacity", "viewer-opacity"]) {
  field(id).addEventListener("input", (event) => {
    for (const slider of ["opacity", "viewer-opacity"]) field(slider).value = event.target.value;
    document.documentElement.style.setProperty("--overlay", event.target.value / 100);
    draw();
  });
}
startClasses();
startGallery();
startViewer();

function begin() {
  data.cards.forEach((card, place) => (card.place = place)); // in the order of the page's files
  render();
  window.addEventListener("hashchange", () => {
    state = readAddress();
    render();
  });
}

if (data.parts) loadIndex().then(begin, trouble);
else begin();
