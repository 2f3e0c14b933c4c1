document$.subscribe(() => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    // Between \( and \) or \[ and \].
    katex.render(element.textContent.trim().slice(2, -2), element, { displayMode: element.tagName === "DIV" });
  }
  const delimiters = [
    { left: "$$", right: "$$", display: true },
    { left: "$", right: "$", display: false },
  ];
  for (const element of document.querySelectorAll(".jp-RenderedMarkdown")) {
    renderMathInElement(element, { delimiters });
  }
});
