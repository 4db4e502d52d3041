// The routes, by Swagger UI where it is installed.

const routes = /** @type {HTMLElement} */ (document.getElementById("routes"));
const SwaggerUIBundle = /** @type {any} */ (window).SwaggerUIBundle;

if (SwaggerUIBundle) {
  SwaggerUIBundle({ url: "/openapi.json", domNode: routes, deepLinking: true });
} else {
  /** @type {HTMLElement} */ (routes.firstElementChild).hidden = false;
}
