// Checks every Markdown file: links to files and headings lead somewhere, shell samples are valid shell, JSON samples
// are valid JSON, settings exist. Addresses on the web are not visited.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));

/** The anchor that GitHub makes of a heading. */
function anchor(heading) {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
}

function withoutCode(text) {
  return text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
}

function anchorsOf(file) {
  const text = readFileSync(file, 'utf8').replace(/^```[\s\S]*?^```/gm, '');
  return new Set([...text.matchAll(/^#+ (.*)$/gm)].map((match) => anchor(match[1])));
}

// A test of the server compares this file with what can be set.
const settings = new Set([...readFileSync('docs/gimp-platform.example.toml', 'utf8').matchAll(/^#(\w+) = /gm)].map((match) => match[1]));

const problems = [];
let checked = 0;

for (const file of files) {
  const text = readFileSync(file, 'utf8');

  for (const [, target] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    checked += 1;
    const [path, fragment] = target.split('#');
    const resolved = path === '' ? file : normalize(join(dirname(file), path));
    if (!existsSync(resolved)) problems.push(`${file}: ${target} does not exist`);
    else if (fragment !== undefined && resolved.endsWith('.md') && !anchorsOf(resolved).has(fragment))
      problems.push(`${file}: ${resolved} has no heading #${fragment}`);
  }

  for (const [, language, sample] of text.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)) {
    if (language === 'sh') {
      checked += 1;
      const shell = spawnSync('bash', ['-n'], { input: sample, encoding: 'utf8' });
      if (shell.status !== 0) problems.push(`${file}: shell sample: ${shell.stderr.trim()}\n${sample}`);
    } else if (language === 'toml') {
      for (const [, name] of sample.matchAll(/^(\w+) = /gm)) {
        checked += 1;
        if (!settings.has(name)) problems.push(`${file}: there is no setting ${name}`);
      }
    } else if (language === 'json') {
      checked += 1;
      try {
        JSON.parse(sample);
      } catch (error) {
        problems.push(`${file}: JSON sample: ${error.message}\n${sample}`);
      }
    }
  }
}

// The words are explained in two places, for two kinds of reader.
const words = (file) => readFileSync(file, 'utf8').match(/^\| word \|[\s\S]*?\n\n/m)?.[0];
checked += 1;
if (words('CONTRIBUTING.md') === undefined || words('CONTRIBUTING.md') !== words('docs/architecture.md'))
  problems.push('The table of words differs between CONTRIBUTING.md and docs/architecture.md');

for (const problem of problems) console.error(problem);
console.log(`${files.length} documents, ${checked} links and samples checked, ${problems.length} wrong`);
process.exit(problems.length === 0 ? 0 : 1);
