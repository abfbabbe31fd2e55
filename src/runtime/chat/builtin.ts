/**
 * Chat templates for checkpoints that come without one, in Jinja as the published ones are. They follow what engines show
 * of the published prompts (vLLM's examples for Step-3, llama.cpp's template file for Step-3.5-Flash); the wording of the
 * part about tools is our own.
 */

/** The system prompt, and where the last turn of the user is: reasoning after it is kept. */
const OPENING = `
{%- set ns = namespace(last=-1, system=messages[0].content if messages[0].role == 'system' else '') -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}`;

/** `{bos} {system} <|BOT|>user\n {content} <|EOT|><|BOT|>assistant\n<think>\n` */
export const STEP3_TEMPLATE: string = `{{- bos_token -}}${OPENING}
{%- if tools -%}
  {%- set ns.system = ns.system ~ ('\\n\\n' if ns.system else '') ~ '# Tools\\n\\nFunctions that you may call, as JSON schemas:\\n<tools>' -%}
  {%- for tool in tools -%}{%- set ns.system = ns.system ~ '\\n' ~ (tool | tojson) -%}{%- endfor -%}
  {%- set ns.system = ns.system ~ '\\n</tools>\\n\\nTo call functions, end your answer with:\\n<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="NAME"><steptml:parameter name="PARAMETER">value</steptml:parameter></steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>' -%}
{%- endif -%}
{%- if ns.system -%}{{- ' ' ~ ns.system ~ ' ' -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {{- '<|BOT|>assistant\\n' -}}
    {%- if loop.index0 > ns.last and message.reasoning_content -%}{{- '<think>\\n' ~ message.reasoning_content ~ '\\n</think>\\n' -}}{%- endif -%}
    {{- message.content -}}
    {%- if message.tool_calls -%}
      {{- '<｜tool_calls_begin｜>' -}}
      {%- for call in message.tool_calls -%}
        {{- '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="' ~ call.name ~ '">' -}}
        {%- for name, value in call.arguments.items() -%}
          {{- '<steptml:parameter name="' ~ name ~ '">' ~ (value if value is string else value | tojson) ~ '</steptml:parameter>' -}}
        {%- endfor -%}
        {{- '</steptml:invoke><｜tool_call_end｜>' -}}
      {%- endfor -%}
      {{- '<｜tool_calls_end｜>' -}}
    {%- endif -%}
    {{- ' <|EOT|>' -}}
  {%- elif message.role == 'system' and loop.first -%}
  {%- else -%}
    {{- '<|BOT|>' ~ ('tool_response' if message.role == 'tool' else message.role) ~ '\\n ' ~ message.content ~ ' <|EOT|>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|BOT|>assistant\\n' ~ ('' if enable_thinking == false else '<think>\\n') -}}{%- endif -%}`;

/** ChatML; results of tools that follow each other share a turn. */
export const STEP35_TEMPLATE: string = `{{- bos_token -}}${OPENING}
{%- if tools -%}
  {%- set ns.system = ns.system ~ ('\\n\\n' if ns.system else '') ~ '# Tools\\n\\nFunctions that you may call, as JSON schemas:\\n\\n<tools>' -%}
  {%- for tool in tools -%}{%- set ns.system = ns.system ~ '\\n' ~ (tool | tojson) -%}{%- endfor -%}
  {%- set ns.system = ns.system ~ '\\n</tools>\\n\\nTo call a function, reply in this form and add nothing after it:\\n\\n<tool_call>\\n<function=name>\\n<parameter=parameter>\\nvalue\\n</parameter>\\n</function>\\n</tool_call>' -%}
{%- endif -%}
{%- if ns.system -%}{{- '<|im_start|>system\\n' ~ ns.system ~ '<|im_end|>\\n' -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>tool_response\\n' -}}{%- endif -%}
    {{- '<tool_response>' ~ message.content ~ '</tool_response>' -}}
    {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
  {%- elif message.role == 'assistant' -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if loop.index0 > ns.last -%}{{- '<think>\\n' ~ (message.reasoning_content or '') ~ '\\n</think>\\n' -}}{%- endif -%}
    {{- message.content -}}
    {%- for call in message.tool_calls or [] -%}
      {{- '<tool_call>\\n<function=' ~ call.name ~ '>\\n' -}}
      {%- for name, value in call.arguments.items() -%}
        {{- '<parameter=' ~ name ~ '>\\n' ~ (value if value is string else value | tojson) ~ '\\n</parameter>\\n' -}}
      {%- endfor -%}
      {{- '</function>\\n</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\\n' -}}
  {%- elif message.role == 'system' and loop.first -%}
  {%- else -%}
    {%- set role = 'observation' if message.role == 'system' and message.name == 'observation' else message.role -%}
    {{- '<|im_start|>' ~ role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' ~ ('' if enable_thinking == false else '<think>\\n') -}}{%- endif -%}`;
