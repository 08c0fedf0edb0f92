import app from "../../bearer_crm.app.mjs";

export default {
  key: "bearer_crm-update-contact",
  name: "Update Contact",
  description: "Updates a contact. [See the documentation](https://api.bearer-crm.example/docs)",
  version: "0.0.3",
  type: "action",
  annotations: {
    destructiveHint: true,
    openWorldHint: true,
    readOnlyHint: false,
  },
  props: {
    app,
    contactId: {
      propDefinition: [
        app,
        "contactId",
      ],
    },
    name: {
      type: "string",
      label: "Name",
      description: "The new name",
      optional: true,
    },
  },
  async run({ $ }) {
    const response = await this.app.updateContact({
      $,
      contactId: this.contactId,
      data: {
        name: this.name,
        note: undefined,
      },
    });
    $.export("$summary", `Updated contact ${this.contactId}`);
    return response;
  },
};
