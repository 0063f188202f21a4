// What node-zookeeper-client can do, one step after the other; each prints a line of JSON. The last one, the ephemeral
// znode after a reconnect, is taken when a line comes in on stdin: by then the server has been started again.
"use strict";

const readline = require("readline");
const zookeeper = require("node-zookeeper-client");

const [hosts, root] = process.argv.slice(2);
const client = zookeeper.createClient(hosts, { sessionTimeout: 4000, spinDelay: 50, retries: 200 });
const lines = readline.createInterface({ input: process.stdin });

const tell = (step, value) => console.log(JSON.stringify([step, value]));

function call(method, ...given) {
  return new Promise((resolve, reject) => {
    client[method](...given, (error, ...values) => (error ? reject(error) : resolve(values)));
  });
}

async function main() {
  tell("created", (await call("create", root, Buffer.from("one")))[0]);
  const changed = new Promise((resolve) => {
    client.getData(root, resolve, (error, data, stat) => tell("data", [data.toString(), stat.version]));
  });
  await call("setData", root, Buffer.from("two"), 0);
  const event = await changed;
  tell("event", [event.getName(), event.getPath()]);
  const mode = zookeeper.CreateMode.EPHEMERAL_SEQUENTIAL;
  const [ephemeral] = await call("create", root + "/e-", Buffer.from(""), mode);
  tell("ephemeral", ephemeral);
  const transaction = client.transaction().check(root, 1).create(root + "/a").setData(root, Buffer.from("three"), 1);
  await new Promise((resolve, reject) => transaction.commit((error) => (error ? reject(error) : resolve())));
  tell("children", (await call("getChildren", root))[0].sort());
  try {
    await call("remove", root, -1);
  } catch (error) {
    tell("refused", error.getName());
  }
  const reconnected = new Promise((resolve) => client.once("connected", resolve));
  tell("ready", client.getSessionId().toString("hex"));
  await new Promise((resolve) => lines.once("line", resolve));
  await reconnected;
  tell("still there", [client.getSessionId().toString("hex"), (await call("exists", ephemeral))[0] !== null]);
  client.close();
  lines.close();
}

client.once("connected", () => {
  main().catch((error) => {
    tell("failed", String(error));
    process.exit(1);
  });
});
client.connect();
