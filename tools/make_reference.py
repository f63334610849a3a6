#!/usr/bin/env python3
"""Bring recorded training steps into the form that the tests read (tests/reference/README.md).

    make_reference.py traces  OUT/traces RECORDED...       gzipped CSV of events -> one text file each
    make_reference.py shapes  OUT/shapes.csv models.json [config.json...] -- MODEL...
    make_reference.py t4      OUT/t4.csv calibration.csv

A recorded trace has the columns event, storage, bytes, phase, operator, shape, module. Storages are
numbered in the order of their allocation, so the text form leaves the numbers of allocations out and
names each kind of allocation (bytes, operator, shape, module) once.
"""
import csv
import gzip
import json
import os
import re
import sys


SETTINGS = ['model', 'method', 'lora_r', 'lora_targets', 'lora_dropout', 'grad_checkpointing', 'attn', 'seq_len',
            'micro_batch', 'optimizer']
OPTIONS = {'padded': '0', 'keep': '0', 'sm': '80', 'grad_accum': '1', 'half': 'bf16', 'reentrant': '0',
           'modules_to_save': '', 'layers': ''}


def settings_of(name):
    """The settings that the name of a recording carries: ten values, then options with theirs."""
    head, options = re.match(r'(.*?(?:paged_)?adamw(?:_fused|_foreach|_loop|_8bit)?|.*?sgd(?:_momentum)?)((?:_keep|_padded|_sm|_grad|_half|_ree|_mod|_layers).*)$', name).groups()
    model, rest = head.split('_', 1)
    method = re.match('(full|qlora|lora|int8)(_(bf16_amp|bf16|amp|fp32adapter|fp32|upcast|dq_noamp|dq|noamp|noprep))?', rest).group(0)
    values = rest[len(method) + 1:].split('_')
    if values[1] not in ('all', 'attn', 'qv', 'mlp', 'qo'):
        values.insert(1, '')
    row = dict(zip(SETTINGS, [model, method] + values[:7] + ['_'.join(values[7:])]), **OPTIONS)
    for option in OPTIONS:
        found = re.search('_%s([^_]*(?:_tokens-lm_head|_head|_tokens)?)' % option, options)
        if found:
            row[option] = found.group(1).replace('-', '+') or '1'
    return row


def has_mask(source):
    """A recording with a third input has a padding mask; not every name says so."""
    with gzip.open(source, 'rt') as f:
        return sum(',inputs,' in line for line in f) == 3


def write_list(out, sources):
    with open(out, 'w', newline='') as f:
        w = csv.writer(f, lineterminator='\n')
        w.writerow(['trace'] + SETTINGS + ['padded', 'keep_outputs', 'sm', 'grad_accum', 'half', 'reentrant',
                                           'modules_to_save', 'layers_measured'])
        for source in sources:
            name = os.path.basename(source).removesuffix('.csv.gz')
            row = dict(settings_of(name), padded=int(has_mask(source)))
            w.writerow([name + '.txt', *row.values()])


def write_trace(source, out_dir):
    name = os.path.basename(source).removesuffix('.csv.gz')
    kinds, lines, phase, count = {}, [], '', 0
    with gzip.open(source, 'rt') as f:
        for event, storage, size, at, operator, shape, module in csv.reader(f):
            if event == 'event':
                continue
            if at != phase:
                phase = at
                lines.append('@' + phase)
            if event == 'free':
                lines.append('-' + storage)
                continue
            count += 1
            assert int(storage) == count, (name, storage, count)
            module = re.sub(r'^base_model\.model\.', '', module) or '.'
            kind = ' '.join((size, operator.removesuffix('.default'), shape, module))
            if kind not in kinds:
                kinds[kind] = len(kinds)
                lines.append('=' + kind)
            lines.append('+%d' % kinds[kind])
    with open(os.path.join(out_dir, name + '.txt'), 'w') as f:
        f.write('\n'.join(lines) + '\n')


SHAPE = ['model', 'architecture', 'layers', 'hidden', 'ffn', 'heads', 'kv_heads', 'head_dim', 'vocabulary',
         'max_positions', 'sliding_window', 'ties_embeddings', 'qkv_bias', 'qk_norm', 'experts', 'experts_per_token',
         'expert_ffn', 'parameters']


def shape_of_row(m):
    moe = m['moe'] or {}
    return [m['id'], m['architecture'], m['num_hidden_layers'], m['hidden_size'], m['intermediate_size'],
            m['num_attention_heads'], m['num_key_value_heads'], m['head_dim'], m['vocab_size'],
            m['max_position_embeddings'], m['sliding_window'] or 0, int(m['tie_word_embeddings']), int(m['qkv_bias']),
            int(m['qk_norm']), moe.get('num_experts', 0), moe.get('experts_per_tok', 0),
            moe.get('moe_intermediate_size', 0), m['params_total']]


def shape_of_config(path):
    c = json.load(open(path))
    heads = c['num_attention_heads']
    return [os.path.basename(os.path.dirname(path)), c['architectures'][0], c['num_hidden_layers'], c['hidden_size'],
            c['intermediate_size'], heads, c.get('num_key_value_heads', heads),
            c.get('head_dim') or c['hidden_size'] // heads, c['vocab_size'], c['max_position_embeddings'], 0,
            int(c.get('tie_word_embeddings', False)), 0, 0, 0, 0, 0, '']


def write_shapes(out, models, configs, ids):
    rows = {m['id']: shape_of_row(m) for m in json.load(open(models)) if m['id'] in ids}
    missing = [i for i in ids if i not in rows]
    assert not missing, missing
    with open(out, 'w', newline='') as f:
        w = csv.writer(f, lineterminator='\n')
        w.writerow(SHAPE)
        w.writerows(rows[i] for i in ids)
        w.writerows(shape_of_config(c) for c in configs)


T4 = ['id', 'source_repo', 'source_path', 'source_commit', 'torch', 'transformers', 'peft', 'model', 'method',
      'lora_r', 'lora_targets', 'base_dtype', 'micro_batch', 'seq_len', 'grad_checkpointing', 'attention',
      'after_load_mib', 'peak_forward_mib', 'peak_optimizer_mib', 'peak_allocated_mib', 'max_reserved_mib',
      'context_mib', 'reserved_of_repeats']


def write_t4(out, table):
    short = {'Qwen/Qwen2.5-1.5B-Instruct': 'qwen2.5-1.5b', 'Qwen/Qwen2.5-1.5B': 'qwen2.5-1.5b',
             'Qwen/Qwen2.5-0.5B': 'qwen2.5-0.5b', 'google/gemma-2-2b': 'gemma2-2b'}
    with open(out, 'w', newline='') as f:
        w = csv.writer(f, lineterminator='\n')
        w.writerow(T4)
        for r in csv.DictReader(open(table)):
            if not r['id'].startswith('fitcheck'):
                continue
            notes = r['notes']

            def noted(pattern):
                found = re.search(pattern, notes)
                return found.group(1) if found else ''
            version = re.search(r'torch ([\d.]+).*transformers ([\d.]+), peft ([\d.]+)', r['framework+version'])
            w.writerow([r['id'], r['source_repo'], r['source_path'], r['source_commit_or_date'], *version.groups(),
                        short.get(r['model'], r['model'].split('/')[1]), r['method'].split('-')[0], r['lora_r'] or 0,
                        'attention' if r['lora_targets'] else '', r['base_dtype'], r['micro_batch'], r['seq_len'],
                        r['grad_checkpointing'], r['attention'], noted(r'after_load_MiB=([\d.]+)'),
                        noted(r'peak_fwd=([\d.]+)'), noted(r'peak_opt=([\d.]+)'),
                        noted(r'peak_allocated_MiB=([\d.]+)'), noted(r'max_reserved_MiB=([\d.]+)'),
                        noted(r'cuda_context_MiB=([\d.]+)'), noted(r'\(reserved ([\d/]+)\)')])


def main(what, out, *rest):
    if what == 'traces':
        os.makedirs(out, exist_ok=True)
        for source in rest:
            write_trace(source, out)
        write_list(out.rstrip('/') + '.csv', rest)
    elif what == 'shapes':
        cut = rest.index('--')
        write_shapes(out, rest[0], rest[1:cut], rest[cut + 1:])
    elif what == 't4':
        write_t4(out, rest[0])
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main(*sys.argv[1:])
