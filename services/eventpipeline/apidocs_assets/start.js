// The validator badge would ask a server on the internet; without a URL it is not drawn.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null, tryItOutEnabled: true });
