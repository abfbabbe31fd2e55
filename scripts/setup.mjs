// Makes a checkout ready: dependencies, the build, and (on Debian 12, as root) a software Vulkan driver when there is
// no adapter. Safe to run at any time; does nothing when all is in place. With --quiet it speaks only when it acts.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const quiet = process.argv.includes('--quiet');

const SUITE = 'bookworm-backports';
const PACKAGES = ['mesa-vulkan-drivers', 'libvulkan1'];
const OUR_SOURCE = '/etc/apt/sources.list.d/step3-backports.list';
const ADVICE =
  'no WebGPU adapter found: models run on the slow CPU interpreter and GPU tests are skipped; see step3 doctor';

/**
 * Goes to stderr: stdout belongs to the command that follows.
 *
 * @param {string} text
 */
function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

/** @param {string} file @returns {Record<string, { version?: string, optional?: boolean, devOptional?: boolean }>} */
function lockedPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
  } catch {
    return {};
  }
}

/** Whether node_modules holds what package-lock.json asks for; packages for other platforms may be absent. */
function installed() {
  const present = lockedPackages(join(root, 'node_modules/.package-lock.json'));
  return Object.entries(lockedPackages(join(root, 'package-lock.json'))).every(([path, wanted]) => {
    if (path === '') return true;
    const found = present[path];
    if (found === undefined) return wanted.optional === true || wanted.devOptional === true;
    return found.version === wanted.version;
  });
}

function installDependencies() {
  if (installed()) return;
  say('installing dependencies: npm ci');
  // The build and the tests need the development dependencies whatever NODE_ENV says.
  execFileSync('npm', ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
}

/** Dates of everything that decides which adapters there are: cheap, where asking Dawn takes half a second. */
function adapterKey() {
  const folders = ['/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/etc/vulkan/icd.d'];
  const dates = [...folders, join(root, 'node_modules/webgpu/package.json')].map((path) =>
    existsSync(path) ? statSync(path).mtimeMs : 0,
  );
  return JSON.stringify([dates, process.version, process.env.VK_DRIVER_FILES, process.env.VK_ICD_FILENAMES]);
}

/** Asks Dawn in a process of its own, since a broken driver may take it down. */
function findAdapter() {
  const program = `
    const { create } = await import('webgpu');
    const adapter = await create([]).requestAdapter().catch(() => null);
    process.exit(adapter === null || /null/i.test(adapter.info.architecture) ? 1 : 0);`;
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: root,
    stdio: 'ignore',
    timeout: 60_000,
  });
  return status === 0;
}

function isDebian12() {
  try {
    const release = readFileSync('/etc/os-release', 'utf8');
    return /^ID=debian$/m.test(release) && /^VERSION_ID="?12"?$/m.test(release);
  } catch {
    return false;
  }
}

/** Texts of the machine's own package sources, ours excepted. */
function aptSources() {
  const folder = '/etc/apt/sources.list.d';
  const names = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  return ['/etc/apt/sources.list', ...names]
    .filter((path) => /\.(list|sources)$/.test(path) && path !== OUR_SOURCE && existsSync(path))
    .map((path) => readFileSync(path, 'utf8').replace(/^\s*#.*\n?/gm, ''));
}

/** A line for the backports suite at the mirror that the machine already uses; undefined when none is known. */
function backportsLine() {
  for (const text of aptSources()) {
    for (const stanza of text.split(/\n\s*\n/)) {
      if (!/^Suites:.*\bbookworm(\s|$)/m.test(stanza)) continue;
      const mirror = /^URIs:\s*(\S+)/m.exec(stanza)?.[1];
      const key = /^Signed-By:\s*(\/\S+)/m.exec(stanza)?.[1];
      if (mirror !== undefined) {
        return `deb ${key === undefined ? '' : `[signed-by=${key}] `}${mirror} ${SUITE} main\n`;
      }
    }
    const line = /^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+bookworm\s+.*\bmain\b/m.exec(text);
    if (line !== null) return `deb ${line[1] ?? ''}${line[2]} ${SUITE} main\n`;
  }
  return undefined;
}

function installDriver() {
  const known = aptSources().some((text) => text.includes(SUITE));
  if (!known && !existsSync(OUR_SOURCE)) {
    const line = backportsLine();
    if (line === undefined) throw new Error('no Debian mirror in the apt sources');
    say(`adding ${SUITE} of this machine's own mirror in ${OUR_SOURCE}, as Debian 12's own Mesa is too old`);
    writeFileSync(OUR_SOURCE, line);
  }
  say(`no WebGPU adapter found: installing a software Vulkan driver (${PACKAGES.join(', ')} from ${SUITE})`);
  const run = (/** @type {string[]} */ ...args) =>
    execFileSync('apt-get', args, {
      stdio: ['ignore', 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  run('-qq', 'update');
  run('-qq', 'install', '-y', '--no-install-recommends', '-t', SUITE, ...PACKAGES);
}

function provideAdapter() {
  const file = join(root, 'node_modules/.cache/step3-setup/adapter.json');
  /** @param {boolean} found */
  const remember = (found) => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify({ key: adapterKey(), found }));
  };
  const known = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  const fresh = known?.key === adapterKey();
  if (fresh && known.found) return true;
  // What was tried in vain before is tried again only when asked for by hand.
  if (fresh && quiet) return false;
  if (findAdapter()) {
    remember(true);
    return true;
  }
  const chosen = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  if (chosen === undefined && isDebian12() && process.getuid?.() === 0) {
    try {
      installDriver();
    } catch (error) {
      say(
        `the driver could not be installed: ${error instanceof Error ? error.message.split('\n')[0] : error}`,
      );
    }
  }
  const found = findAdapter();
  remember(found);
  return found;
}

installDependencies();
build();
const found = provideAdapter();
if (!found) say(ADVICE);
else if (!quiet) say('ready: dependencies, build and WebGPU adapter are in place');
