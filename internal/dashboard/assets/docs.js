// The page of the API document: Swagger UI shows /openapi.json and sends what is
// tried to this server.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// What Swagger UI leaves out for those who use a keyboard or hear the page, as
// selector, attribute, and value, which may depend on the element.
const amended = [
  ["select:not([aria-label])", "aria-label", (e) => nameOf(e)],
  ["textarea:not([aria-label])", "aria-label", (e) => nameOf(e)],
  ["pre:not([tabindex])", "tabindex", () => "0"],
  [".information-container:not([role])", "role", () => "region"],
  [".information-container:not([aria-label])", "aria-label", () => "About the API"],
  [".scheme-container:not([role])", "role", () => "region"],
  [".scheme-container:not([aria-label])", "aria-label", () => "Server and authorization"],
  ["h3.opblock-tag:not([aria-level])", "aria-level", () => "2"],
  ["h4:not([aria-level])", "aria-level", () => "3"],
  ["h5:not([aria-level])", "aria-level", () => "4"],
];

// nameOf is what a field is for: its parameter, else the kind of its list.
function nameOf(e) {
  const parameter = e.closest("tr[data-param-name]")?.dataset.paramName;
  if (parameter) return parameter;
  if (e.id === "servers") return "Server";
  if (e.matches("textarea")) return "Body";
  return e.matches(".examples-select-element") ? "Example" : "Media type";
}

function amend() {
  for (const [selector, name, value] of amended) {
    for (const e of docs.querySelectorAll(selector)) e.setAttribute(name, value(e));
  }
}

const docs = document.getElementById("docs");
new MutationObserver(amend).observe(docs, { childList: true, subtree: true });

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  validatorUrl: null, // it is another host's
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // A link within the button that opens an operation cannot be reached by itself;
  // the address changes all the same.
  plugins: [() => ({ components: { DeepLink: ({ text }) => text } })],
});
