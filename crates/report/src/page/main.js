// Puts the page together.

const dark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (theme) => { document.documentElement.dataset.theme = theme; };
setTheme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

document.getElementById("main").replaceChildren(summary(), layersSection(), mapSection(), causesSection(), tableSection(), treeSection());
document.documentElement.dataset.ready = "true";
