(css, text, what) => {
  const fits = (element) =>
    (!text || element.textContent.includes(text)) && element.getBoundingClientRect().width > 0;
  const element = [...document.querySelectorAll(css)].find(fits);
  if (!element) return null;
  if (what === "select") {
    element.focus();
    element.select?.();
    return document.activeElement === element;
  }
  if (what === "value") return element.value ?? null;
  if (what === "hide") {
    if ("value" in element) element.value = "";
    else element.textContent = "•".repeat(16);
  }
  return true;
}
