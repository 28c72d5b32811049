(css, text) => {
  const usable = (element) => {
    if (element.disabled || (text && !element.textContent.includes(text))) return false;
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    return box.width > 0 && box.height > 0 && style.visibility !== "hidden" && style.pointerEvents !== "none";
  };
  const answer = { origin: location.origin, title: document.title, found: null };
  const element = [...document.querySelectorAll(css)].find(usable);
  if (element) {
    element.scrollIntoView({ block: "center", behavior: "instant" });
    const box = element.getBoundingClientRect();
    answer.found = {
      x: box.left + box.width / 2,
      y: box.top + box.height / 2,
      text: "value" in element && element.value ? element.value : element.textContent,
    };
  }
  return answer;
}
