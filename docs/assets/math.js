// Renders the formulas that pymdownx.arithmatex marks; `document$` also fires after Material's instant navigation.
document$.subscribe(() => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const source = element.textContent.trim();
    if (!/^\\[[(]/.test(source)) continue; // already rendered
    katex.render(source.slice(2, -2), element, { displayMode: source.startsWith("\\["), throwOnError: false });
  }
});
