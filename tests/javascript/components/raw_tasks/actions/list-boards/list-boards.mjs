import tasks from "../../raw_tasks.app.mjs";

export default {
  key: "raw_tasks-list-boards",
  name: "List Boards",
  version: "0.0.1",
  type: "action",
  props: {
    tasks,
  },
  async run() {
    return this.tasks.query("{ boards { id } }");
  },
};
