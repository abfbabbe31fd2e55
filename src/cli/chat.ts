/** `step3 chat`: answers messages, once or turn by turn. */
import { createInterface } from 'node:readline';
import { styleText } from 'node:util';
import { Command } from 'commander';
import { InputError } from '../errors.ts';
import { type ChatResult, chat } from '../runtime/chat/chat.ts';
import {
  type ChatMessage,
  parseMessages,
  parseTools,
  type Tool,
  type ToolCall,
} from '../runtime/chat/messages.ts';
import type { Model } from '../runtime/model.ts';
import { EXIT } from './errors.ts';
import { interruptible, measured } from './generation.ts';
import {
  chunkOption,
  commonOptions,
  type DeviceFlags,
  deviceOptions,
  type GenerateFlags,
  generateOptions,
  integer,
  openModel,
  readTextFile,
  sampling,
} from './options.ts';

/** How messages become a turn. */
export interface ChatFlags extends DeviceFlags, GenerateFlags {
  readonly model: string;
  readonly prompt?: string;
  readonly messages?: string;
  readonly system?: string;
  readonly tools?: string;
  readonly thinking: boolean;
  readonly context?: number;
  readonly chunk?: number;
}

/** The command's definition. */
export function chatCommand(): Command {
  const command = new Command('chat')
    .description(
      'Answer messages by the chat template of the checkpoint; without any, line by line from the terminal.',
    )
    .requiredOption('--model <dir>', 'checkpoint: a folder, a .gguf file, or its http(s) address')
    .option('--prompt <text>', "the user's turn")
    .option('--messages <file>', 'messages as JSON: [{"role": "user", "content": "…"}, …]')
    .option('--system <text>', 'system prompt')
    .option('--tools <file>', 'tools as JSON: [{"name": …, "description": …, "parameters": {…}}, …]')
    .option('--no-thinking', 'ask for an answer without reasoning, where the template can');
  generateOptions(command)
    .option('--draft <n>', 'draft up to n tokens a step, as for step3 run', integer(0))
    .option(
      '--context <n>',
      "most positions of a conversation (default: the model's, at most 4096)",
      integer(1),
    )
    .addOption(chunkOption());
  return commonOptions(deviceOptions(command, 'f16'))
    .addHelpText(
      'after',
      '\nReasoning goes to stderr, the answer to stdout, calls of tools as lines of JSON. Example:\n  step3 chat --model DIR --prompt "What is 2+2?" --system "Be brief."',
    )
    .action(runChat);
}

/** Runs one turn, or a conversation when the flags give no message. */
export async function runChat(flags: ChatFlags): Promise<void> {
  if (flags.prompt !== undefined && flags.messages !== undefined) {
    throw new InputError('prompt', 'one of --prompt and --messages', 'both');
  }
  const once = flags.prompt !== undefined || flags.messages !== undefined;
  if (!once && flags.json === true)
    throw new InputError('prompt', '--prompt or --messages with --json', undefined);
  const messages = await readMessages(flags);
  const tools = flags.tools === undefined ? [] : parseTools(await readJson('tools', flags.tools));
  const { context, chunk, draft } = flags;
  const model = await openModel(flags.model, flags, { maxContext: context, chunk, draft });
  try {
    if (once) await turn(model, messages, tools, flags, true);
    else await converse(model, messages, tools, flags);
  } finally {
    model.dispose();
  }
}

async function readMessages({ messages: file, prompt, system }: ChatFlags): Promise<ChatMessage[]> {
  const messages = file === undefined ? [] : parseMessages(await readJson('messages', file));
  if (system !== undefined && messages[0]?.role === 'system') {
    throw new InputError('system', 'no --system, since the messages begin with one', system);
  }
  return [
    ...(system === undefined ? [] : [{ role: 'system', content: system } as const]),
    ...messages,
    ...(prompt === undefined ? [] : [{ role: 'user', content: prompt } as const]),
  ];
}

async function readJson(field: string, file: string): Promise<unknown> {
  const text = await readTextFile(field, file);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(field, 'JSON', `${file} (${(cause as Error).message})`);
  }
}

/** Every line is a turn of the user; an empty one is passed over, the end of the input ends the conversation. */
async function converse(
  model: Model,
  messages: ChatMessage[],
  tools: readonly Tool[],
  flags: ChatFlags,
): Promise<void> {
  const lines = createInterface({ input: process.stdin });
  const ask = () => process.stdin.isTTY && process.stderr.write('> ');
  ask();
  for await (const line of lines) {
    if (line.trim() !== '') {
      messages.push({ role: 'user', content: line });
      messages.push((await turn(model, messages, tools, flags, false)).message);
    }
    ask();
  }
}

async function turn(
  model: Model,
  messages: readonly ChatMessage[],
  tools: readonly Tool[],
  flags: ChatFlags,
  figures: boolean,
): Promise<ChatResult> {
  const { signal, release } = interruptible();
  const { maxTokens, stop, thinking, draft } = flags;
  const print = flags.json !== true;
  try {
    const parts = chat(model, messages, {
      ...sampling(flags),
      maxTokens,
      stop,
      thinking,
      tools,
      draft,
      signal,
    });
    let next = await parts.next();
    let reasoned = false;
    for (; next.done !== true; next = await parts.next()) {
      const event = next.value;
      if (!print) continue;
      if (event.type === 'reasoning') process.stderr.write(dim(event.text));
      else {
        if (reasoned) process.stderr.write('\n\n');
        process.stdout.write(event.type === 'content' ? event.text : `${JSON.stringify(event.call)}\n`);
      }
      reasoned = event.type === 'reasoning';
    }
    if (print) process.stdout.write('\n');
    if (figures) {
      const { json, text } = await measured(model, next.value.summary, flags);
      if (print) process.stderr.write(`\n${text}`);
      else process.stdout.write(`${JSON.stringify({ ...resultJson(next.value), ...json })}\n`);
    }
    if (signal.aborted) process.exitCode = EXIT.interrupted;
    return next.value;
  } finally {
    release();
  }
}

function dim(text: string): string {
  return process.stderr.isTTY === true ? styleText('dim', text) : text;
}

/** The message as chat APIs have it. */
function resultJson({ message, finish, tokens }: ChatResult): object {
  const { tool_calls: calls, ...rest } = message;
  const shown = calls === undefined ? rest : { ...rest, tool_calls: calls.map(callJson) };
  return { message: shown, finish, tokens };
}

function callJson({ name, arguments: args }: ToolCall): object {
  return { type: 'function', function: { name, arguments: JSON.stringify(args) } };
}
