import jobs from "../../composed_jobs.app.mjs";

export default {
  key: "composed_jobs-list-jobs",
  name: "List Jobs",
  version: "0.0.1",
  type: "action",
  props: {
    jobs,
  },
  run() {
    return this.jobs.listJobs();
  },
};
