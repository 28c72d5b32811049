(covered) => {
  const id = "agentkeys-cover";
  document.getElementById(id)?.remove();
  if (covered.length === 0) return true;
  const style = document.createElement("style");
  style.id = id;
  const inside = covered.map((css) => `:is(${css}), :is(${css}) *`).join(", ");
  style.textContent = `${inside} { color: transparent !important; background: #000 !important; text-shadow: none !important; transition: none !important }`;
  document.documentElement.append(style);
  return getComputedStyle(document.documentElement) !== null;
}
