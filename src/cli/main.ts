/** Reads the command line, runs a command, and turns what it throws into a line and an exit code. */
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.ts';
import { benchCommand } from './bench.ts';
import { calibrateCommand } from './calibrate.ts';
import { chatCommand } from './chat.ts';
import { convertCommand } from './convert.ts';
import { costCommand } from './cost.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { EXIT, EXIT_HELP, errorJson, exitCode, oneLine } from './errors.ts';
import { infoCommand } from './info.ts';
import { logitsCommand } from './logits.ts';
import { perplexityCommand } from './perplexity.ts';
import { runCommand } from './run.ts';
import { synthCommand } from './synth.ts';
import { validateCommand } from './validate.ts';

function program(): Command {
  const step3 = new Command('step3')
    .description('Step-3 decode on WebGPU: run, inspect and check checkpoints.')
    .version(VERSION)
    .addHelpText('after', EXIT_HELP);
  for (const command of [
    runCommand(),
    chatCommand(),
    logitsCommand(),
    perplexityCommand(),
    convertCommand(),
    synthCommand(),
    infoCommand(),
    benchCommand(),
    costCommand(),
    calibrateCommand(),
    validateCommand(),
    doctorCommand(),
    demoCommand(),
  ]) {
    step3.addCommand(command.addHelpText('after', EXIT_HELP));
  }
  for (const command of [step3, ...step3.commands]) {
    // Reported below, in one place and on one line.
    command.exitOverride().configureOutput({ outputError: () => {} });
  }
  return step3;
}

/** Runs `step3` with the given arguments and ends the process. */
export async function main(args: readonly string[]): Promise<void> {
  // A reader that has seen enough, such as head, is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
  try {
    if (args.length === 0) program().outputHelp();
    else await program().parseAsync([...args], { from: 'user' });
  } catch (error) {
    process.exitCode = exitCode(error);
    if (process.exitCode !== EXIT.ok) report(error, args);
  }
  // Dawn's threads can keep the event loop alive; what was printed must be out first.
  await Promise.all([process.stdout, process.stderr].map((s) => new Promise((done) => s.write('', done))));
  process.exit(process.exitCode);
}

function report(error: unknown, args: readonly string[]): void {
  if (args.includes('--json')) process.stdout.write(`${JSON.stringify(errorJson(error))}\n`);
  const stack = args.includes('--verbose') && error instanceof Error && !(error instanceof CommanderError);
  process.stderr.write(`step3: ${oneLine(error)}\n`);
  if (stack) process.stderr.write(`${error.stack}\n`);
}
