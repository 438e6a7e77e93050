// Clients of the end-to-end tests: pusher-js and Laravel Echo.
//
// Reads commands from standard input, as JSON lines {number, client, do, ...}.
// Writes reports to standard output, as JSON lines {queue, item}.
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import Echo from "laravel-echo";
import nacl from "tweetnacl";
import WebSocket from "ws";

const Pusher = createRequire(import.meta.url)("pusher-js");
const pushers = new Map();
const echoes = new Map();

function report(queue, item) {
  process.stdout.write(JSON.stringify({ queue, item }) + "\n");
}

function watch(client, pusher) {
  pushers.set(client, pusher);
  const { connection } = pusher;
  connection.bind("state_change", ({ current }) => report(`${client}/connection`, ["state", current]));
  connection.bind("error", (error) => report(`${client}/connection`, ["error", error]));
  connection.bind("message", (message) => {
    if (!message.channel) report(`${client}/message`, message);
  });
}

// Signs subscriptions in the client. A real application must not do so: its secret would be public.
function signingHandler(secret, key) {
  return ({ socketId, channelName }, callback) => {
    const signature = createHmac("sha256", secret).update(`${socketId}:${channelName}`).digest("hex");
    callback(null, { auth: `${key}:${signature}` });
  };
}

// Compresses every message that it sends, if the server accepts permessage-deflate.
class CompressingWebSocket extends WebSocket {
  constructor(url) {
    super(url, { perMessageDeflate: { threshold: 0 } });
  }
}

const commands = {
  // Makes pusher-js connect with ws from now on: its own client for Node.js never compresses.
  compress() {
    Pusher.Runtime.getWebSocketAPI = () => CompressingWebSocket;
  },
  extensions({ client }) {
    return pushers.get(client).connection.connection.transport.socket.extensions;
  },
  pusher({ client, key, options, secret }) {
    if (secret) options.channelAuthorization = { customHandler: signingHandler(secret, key) };
    watch(client, new Pusher(key, { ...options, nacl }));
  },
  echo({ client, options }) {
    const echo = new Echo({ ...options, Pusher, nacl });
    echoes.set(client, echo);
    watch(client, echo.connector.pusher);
  },
  subscribe({ client, channel }) {
    const pusher = pushers.get(client);
    const known = pusher.channel(channel);
    const subscribed = pusher.subscribe(channel);
    if (known) return;
    subscribed.bind_global((name, data) => report(`${client}/${channel}`, [name, data]));
  },
  unsubscribe({ client, channel }) {
    pushers.get(client).unsubscribe(channel);
  },
  bind({ client, channel, event }) {
    const queue = `${client}/${channel}/${event}`;
    pushers.get(client).channel(channel).bind(event, (data, metadata) => report(queue, [data, metadata]));
  },
  bind_global({ client }) {
    pushers.get(client).bind_global((name, data) => report(`${client}/global`, [name, data]));
  },
  trigger({ client, channel, event, data }) {
    return pushers.get(client).channel(channel).trigger(event, data);
  },
  // Bypasses the checks with which pusher-js keeps invalid messages from the server.
  send({ client, event, data, channel }) {
    return pushers.get(client).connection.send_event(event, data, channel);
  },
  signin({ client }) {
    const { user } = pushers.get(client);
    user.bind_global((name, data) => report(`${client}/user`, [name, data]));
    pushers.get(client).signin();
  },
  watch({ client }) {
    const { watchlist } = pushers.get(client).user;
    const listener = ({ name, user_ids }) => report(`${client}/watchlist`, [name, user_ids]);
    watchlist.bind("online", listener);
    watchlist.bind("offline", listener);
  },
  user_bind({ client, event }) {
    pushers.get(client).user.bind(event, (data) => report(`${client}/user/${event}`, data));
  },
  user_id({ client }) {
    return pushers.get(client).user.user_data?.id ?? null;
  },
  socket_id({ client }) {
    return pushers.get(client).connection.socket_id;
  },
  members({ client, channel }) {
    return pushers.get(client).channel(channel).members;
  },
  subscription_count({ client, channel }) {
    return pushers.get(client).channel(channel).subscriptionCount;
  },
  // Returns whether the client gave up: it is not connected, and no reconnect is scheduled.
  idle({ client }) {
    const { connection } = pushers.get(client);
    return !connection.connection && !connection.runner && !connection.retryTimer?.isRunning();
  },
  disconnect({ client }) {
    pushers.get(client).disconnect();
  },
  open({ client, kind, channel }) {
    echoes.get(client)[kind](channel).subscribed(() => report(`${client}/${channel}`, "subscribed"));
  },
  listen({ client, kind, channel, how, arguments: given }) {
    const queue = [channel, how, ...given].join(" ");
    echoes.get(client)[kind](channel)[how](...given, (data) => report(`${client}/${queue}`, data ?? null));
    return queue;
  },
  whisper({ client, kind, channel, event, data }) {
    echoes.get(client)[kind](channel).whisper(event, data);
  },
  leave({ client, channel }) {
    echoes.get(client).leave(channel);
  },
  echo_socket_id({ client }) {
    return echoes.get(client).socketId();
  },
};

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const command = JSON.parse(line);
  const queue = `reply ${command.number}`;
  try {
    report(queue, { result: commands[command.do](command) });
  } catch (error) {
    report(queue, { error: String(error.stack ?? error) });
  }
});
input.on("close", () => {
  for (const pusher of pushers.values()) pusher.disconnect();
  // The process ends by itself after the closing handshakes. Other timers could keep it running,
  // so that it exits after 100 ms at the latest.
  setTimeout(() => process.exit(0), 100).unref();
  setImmediate(() => process.exitCode ??= 0);
});
