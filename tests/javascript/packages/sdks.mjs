// Services' own SDKs with connected accounts, each used as its documentation shows.

import fs from "fs";
import { Client as Notion } from "@notionhq/client";
import { Octokit } from "@octokit/rest";
import sendgrid from "@sendgrid/mail";
import Airtable from "airtable";
import OpenAI from "openai";
import Stripe from "stripe";

const app = (name) => ({ type: "app", app: name });

export default defineComponent({
  props: { airtable: app("airtable"), github: app("github"), notion: app("notion"), openai: app("openai"), sendgrid: app("sendgrid"), stripe: app("stripe") },
  async run() {
    const stripe = new Stripe(this.stripe.$auth.api_key);
    const customer = await stripe.customers.create({ name: "Ada" });

    const octokit = new Octokit({ auth: this.github.$auth.oauth_access_token });
    const { data: issue } = await octokit.rest.issues.create({ owner: "o", repo: "r", title: "Hello" });

    const notion = new Notion({ auth: this.notion.$auth.oauth_access_token });
    const page = await notion.pages.retrieve({ page_id: "p1" });

    sendgrid.setApiKey(this.sendgrid.$auth.api_key);
    const [{ statusCode }] = await sendgrid.send({ to: "a@example.com", from: "b@example.com", subject: "Hello", text: "Hello" });

    const openai = new OpenAI({ apiKey: this.openai.$auth.api_key });
    let said = "";
    for await (const chunk of await openai.chat.completions.create({ model: "m", messages: [{ role: "user", content: "Hello" }], stream: true })) said += chunk.choices[0].delta.content;
    fs.writeFileSync("/tmp/notes.txt", "notes");
    const file = await openai.files.create({ file: fs.createReadStream("/tmp/notes.txt"), purpose: "assistants" });

    const base = new Airtable({ apiKey: this.airtable.$auth.oauth_access_token }).base("app1");
    const records = await base("Table").select({ maxRecords: 1 }).firstPage();

    return { stripe: customer.id, github: issue.id, notion: page.id, sendgrid: statusCode, openai: [said, file.id], airtable: records[0].get("Name") };
  },
});
