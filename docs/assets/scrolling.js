// What is wider than the page scrolls by itself; with the keyboard too, once it can be reached.
function reachScrolling() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .arithmatex, .arithmatex .katex-display")) {
    if (box.clientWidth && box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

addEventListener("resize", reachScrolling);
document$.subscribe(() => {
  const seen = new MutationObserver(reachScrolling); // the theme puts tables into their boxes later
  seen.observe(document.querySelector("article") ?? document.body, { childList: true, subtree: true });
  reachScrolling();
});
