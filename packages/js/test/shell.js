// What somebody does at the terminal of the page that `boxer build -o type=web` makes, by Playwright's page or Puppeteer's. The image's command is bash, and it
// has a volume at /keep.
import assert from "node:assert/strict";
import { join } from "node:path";

const PATIENCE = 90_000;

/** A page at `url`; `size` sets its viewport. */
export function shell(page, url, size) {
  const screen = () => page.evaluate(() => [...document.querySelectorAll(".xterm-rows > div")].map((row) => row.textContent.trimEnd()).join("\n").trimEnd());
  const until = async (what) => {
    for (const end = Date.now() + PATIENCE; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
      const found = await what();
      if (found) return found;
      if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms; the screen has:\n${await screen()}`);
    }
  };
  const shows = (pattern) => until(async () => pattern.test(await screen()));
  const type = async (text) => {
    await page.keyboard.type(text);
    await page.keyboard.press("Enter");
  };
  const chord = async (modifier, key) => {
    await page.keyboard.down(modifier);
    await page.keyboard.press(key);
    await page.keyboard.up(modifier);
  };
  const picture = (name) => process.env.SCREENSHOTS && page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
  const status = () => page.evaluate(() => document.getElementById("status").textContent);
  /** Loads it; seconds until there is a prompt. */
  const load = async () => {
    const start = Date.now();
    await page.goto(url);
    await shows(/[$#]$/);
    await page.click("#terminal");
    return (Date.now() - start) / 1000;
  };
  return { page, load, screen, shows, type, chord, picture, size, status, until };
}

/** Commands, job control, copying and pasting, other sizes. */
export async function works({ page, load, screen, shows, type, chord, picture, size }, name) {
  await size(900, 500);
  await load();
  await type("PS1='% '; clear; ls /; python3 -c 'print(6 * 7)'; stty size");
  await shows(/\busr\b[^]*\n42\n\d+ \d+\n%$/);
  await picture(name);
  const [, before] = /\n(\d+ \d+)\n/.exec(await screen());
  await type("clear; sleep 1000");
  await shows(/^sleep 1000$|^$/);
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
  await chord("Control", "z");
  await shows(/\[1\]\+ +Stopped +sleep 1000/);
  await type("fg");
  await shows(/fg\nsleep 1000$/);
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
  await chord("Control", "c");
  await shows(/\^C\n+%$/);
  await type("echo status $?; clear; echo copied-word");
  await shows(/\ncopied-word\n%$|^copied-word\n%$/);
  const place = await page.evaluate(() => {
    const row = [...document.querySelectorAll(".xterm-rows > div")].find((row) => row.textContent.startsWith("copied-word"));
    const { x, y, height } = row.getBoundingClientRect();
    return [x + 20, y + height / 2];
  });
  // Each of the two libraries takes one of the names.
  await page.mouse.click(...place, { clickCount: 2, count: 2 });
  await chord("Control", "Insert");
  await page.keyboard.type("echo [");
  await chord("Shift", "Insert");
  await shows(/echo \[copied-word$/);
  await type("]");
  await shows(/\n\[copied-word\]\n%$/);
  await size(360, 640);
  await type("clear; stty size; seq -s ' ' 40");
  await shows(/^\d+ \d+\n[^]*40\n%$/);
  await picture(`${name}-360`);
  const [rows, cols] = /^(\d+) (\d+)\n/.exec(await screen()).slice(1).map(Number);
  assert.ok(rows > Number(before.split(" ")[0]) && cols < 50, `${before}, then ${rows} ${cols}`);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await size(900, 500);
  await type("clear; stty size");
  await shows(new RegExp(`^${before}\n%$`));
}

/** What is written in a volume is there after a reload, in one tab at a time. */
export async function keeps({ page, load, shows, type, status, until }, second) {
  await load();
  await type("echo kept $((40 + 2)) > /keep/file; mv /keep/file /keep/moved; cat /keep/moved");
  await shows(/\nkept 42\n/);
  // Changes are gathered for 200 ms, and then written.
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1000)));
  await load();
  await type("ls /keep; cat /keep/moved; echo gone > /root/other");
  await shows(/\nmoved\nkept 42\n/);
  await second.load();
  assert.match(await second.status(), /in use by another box.*this time nothing is kept/);
  await second.page.close();
  await page.bringToFront();
  // The page says how the box has ended, and the box lets go of its files.
  await type("exit 3");
  await until(async () => (await status()) === "Ended with status 3.");
  await load();
  await type("ls /keep; ls /root/other");
  await shows(/\nmoved\n.*No such file/);
  assert.equal(await status(), "");
}
