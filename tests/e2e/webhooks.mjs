// Judges webhooks by Pusher's own SDK for Node: a JSON line in, a JSON line out.
import { createInterface } from "node:readline";
import Pusher from "pusher";

const [appId, key, secret] = process.argv.slice(2);
const pusher = new Pusher({ appId, key, secret });

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, rawBody } = JSON.parse(line);
  const webhook = pusher.webhook({ headers, rawBody });
  const valid = webhook.isValid();
  const verdict = valid ? { valid, events: webhook.getEvents(), time: webhook.getTime() } : { valid };
  console.log(JSON.stringify(verdict));
}
