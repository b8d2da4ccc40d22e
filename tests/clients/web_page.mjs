// Opens a built page in Chromium, as a user would, and prints what it shows.
//
// Usage: web_page.mjs NODE_MODULES FOLDER
//
// Serves the folder and prints its origin. Then it reads a line of JSON with the texts and choices
// of the form, fills them in, and prints a line for each step. It fails if the page does. Passkeys
// are those of a virtual authenticator, which has verified its user.

import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const [modules, folder] = process.argv.slice(2);
const { chromium } = createRequire(join(modules, "x"))("playwright-core");

// Many tests share few cores.
const TIMEOUT_MS = 120_000;

const TYPES = { ".html": "text/html", ".js": "text/javascript" };

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const file = join(folder, pathname === "/" ? "index.html" : pathname);
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "text/plain" });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "localhost", resolve));
const origin = `http://localhost:${server.address().port}`;
console.log(origin);

const { value: line } = await createInterface(process.stdin)[Symbol.asyncIterator]().next();
const fields = JSON.parse(line);

// What the page shows.
const read = (page) =>
  page.evaluate(() => ({
    steps: Array.from(document.querySelectorAll("#steps li"), (step) => step.textContent),
    failure: document.querySelector("#failure").textContent,
  }));

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  timeout: TIMEOUT_MS,
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on("console", (message) => console.error(message.text()));
  page.on("pageerror", (error) => console.error(error));
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  await page.goto(origin);
  for (const [name, value] of Object.entries(fields)) {
    const field = page.locator(`[name=${name}]`);
    await (value === true ? field.check() : field.fill(value));
  }
  await page.getByRole("button").click();
  const deadline = Date.now() + TIMEOUT_MS;
  let shown;
  do {
    await sleep(100);
    shown = await read(page);
  } while (!shown.failure && !shown.steps.at(-1)?.startsWith("signed out") && Date.now() < deadline);
  for (const step of shown.steps) console.log(step);
  if (shown.failure) throw new Error(shown.failure);
  if (Date.now() >= deadline) throw new Error(`the story did not end; the page is ${page.url()}`);
} finally {
  await browser.close();
  server.close();
  process.stdin.destroy();
}
