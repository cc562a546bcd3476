"""The OpenAPI document of the interface: what each route takes and answers, and the document made of it."""
