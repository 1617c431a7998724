// Swagger UI from this machine's files, about this server's own description.
// No validator badge: it would ask a server on the internet.
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
