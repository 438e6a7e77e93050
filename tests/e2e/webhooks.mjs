// Validates webhooks with Pusher's own SDK for Node.js. Reads one JSON line for each webhook, and
// writes one JSON line with the result.
import { createInterface } from "node:readline";
import Pusher from "pusher";

const [appId, key, secret] = process.argv.slice(2);
const pusher = new Pusher({ appId, key, secret });

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, rawBody } = JSON.parse(line);
  const webhook = pusher.webhook({ headers, rawBody });
  const valid = webhook.isValid();
  const result = valid ? { valid, events: webhook.getEvents(), time: webhook.getTime() } : { valid };
  console.log(JSON.stringify(result));
}
