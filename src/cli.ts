#!/usr/bin/env node
/** The command `step3`. */
import { main } from './cli/main.ts';

await main(process.argv.slice(2));
