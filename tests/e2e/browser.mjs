// Chromium for the end-to-end tests. Executes commands in the same way as driver.mjs.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, timeout] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const pages = new Map();
const errors = [];

function report(queue, item) {
  process.stdout.write(JSON.stringify({ queue, item }) + "\n");
}

const commands = {
  // Each page has its own profile, like a separate user's browser.
  async open({ page, url }) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const opened = await context.newPage();
    opened.setDefaultTimeout(Number(timeout));
    opened.on("pageerror", (error) => errors.push(String(error)));
    opened.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    await opened.goto(url);
    pages.set(page, opened);
  },
  fill: ({ page, selector, text }) => pages.get(page).fill(selector, text),
  click: ({ page, selector }) => pages.get(page).click(selector),
  script: ({ page, path }) => pages.get(page).addScriptTag({ path }).then(() => null),
  evaluate: ({ page, expression }) => pages.get(page).evaluate(expression),
  // Waits until the matching elements have exactly these texts, in this order.
  async texts({ page, selector, texts }) {
    const same = ([where, wanted]) => {
      const found = [...document.querySelectorAll(where)].map((element) => element.innerText.trim());
      return JSON.stringify(found) === JSON.stringify(wanted);
    };
    await pages.get(page).waitForFunction(same, [selector, texts]);
  },
  errors: () => errors.splice(0),
  async close({ page }) {
    await pages.get(page).context().close();
  },
};

const input = createInterface({ input: process.stdin });
input.on("line", async (line) => {
  const command = JSON.parse(line);
  const queue = `reply ${command.number}`;
  try {
    report(queue, { result: (await commands[command.do](command)) ?? null });
  } catch (error) {
    report(queue, { error: String(error.stack ?? error) });
  }
});
input.on("close", async () => {
  await browser.close();
  process.exit(0);
});
