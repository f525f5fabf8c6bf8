// Nothing is loaded from elsewhere: no validator, no fonts.
SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  docExpansion: "list",
  operationsSorter: "alpha",
  persistAuthorization: false,
});
