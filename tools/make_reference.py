#!/usr/bin/env python3
"""Bring recordings and measurements into the form that the tests read (tests/reference/README.md).

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
           'modules_to_save': '', 'layers': '', 'loss': '', 'liger': '', 'packed': '0', 'neftune': '0',
           'offload': '', 'kernels': '', 'in-backward': '0', 'objective': '', 'dora': '0', 'freeze': '0',
           'tower': '0', 'image': '', 'transformers': ''}


METHOD = '(full|freeze|qlora|lora|int8)(_(bf16_amp|bf16_single|bf16|amp|fp32adapter|fp32_amp|fp32|upcast|dq_noamp|dq|noamp|noprep|trl))?'
OPTIMIZER = ('(?:paged_)?(?:adamw|lion|ademamix|rmsprop)(?:_fused|_foreach|_loop|_8bit)?|sgd(?:_momentum)?|adafactor|'
             'adagrad|muon|galore|apollo|adam_mini|schedule_free_adamw')
TARGETS = ('all', 'attn', 'qv', 'mlp', 'qo', 'head', 'tokens', 'ends', 'whole', 'every', 'parts')


def settings_of(name):
    """The settings that the name of a recording carries: ten values, then options with theirs."""
    name = re.sub('^(torchtune|litgpt|unsloth|axolotl|trl[0-9.]*|swift)_', '', name)  # whose code it is, else transformers' and PEFT's
    head, options = re.match('(.*?_(?:%s))((?:_[a-z]+).*)$' % OPTIMIZER, name).groups()
    model, rest = head.split('_', 1)
    method = re.match(METHOD, rest).group(0)
    values = rest[len(method) + 1:].split('_')
    if values[1] not in TARGETS:
        values.insert(1, '')
    row = dict(zip(SETTINGS, [model, method] + values[:7] + ['_'.join(values[7:])]), **OPTIONS)
    for option in OPTIONS:
        found = re.search('_%s([^_]*(?:_tokens-lm_head|_head|_tokens)?)' % option, options)
        if found:
            row[option] = (found.group(1) if option == 'freeze' else found.group(1).replace('-', '+')) or '1'
    return row


def has_mask(source, is_packed):
    """A recording with a third input, or a fourth beside positions, has a padding mask; not every name says so."""
    with gzip.open(source, 'rt') as f:
        return sum(',inputs,' in line for line in f) == 3 + is_packed


def write_list(out, sources):
    with open(out, 'w', newline='') as f:
        w = csv.writer(f, lineterminator='\n')
        w.writerow(['trace'] + SETTINGS + ['padded', 'keep_outputs', 'sm', 'grad_accum', 'half', 'reentrant',
                                           'modules_to_save', 'layers_measured', 'loss', 'liger', 'packed', 'neftune',
                                           'offload', 'lora_kernels', 'in_backward', 'objective', 'dora', 'freeze', 'tower', 'image', 'transformers'])
        for source in sources:
            name = os.path.basename(source).removesuffix('.csv.gz')
            row = settings_of(name)
            if not row['image']:
                row['padded'] = int(has_mask(source, int(row['packed'])))
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
         'max_positions', 'sliding_window', 'rotary_dim', 'ties_embeddings', 'qkv_bias', 'qk_norm', 'experts', 'experts_per_token',
         'expert_ffn', 'key_heads', 'value_heads', 'key_head_dim', 'value_head_dim', 'kernel',
         'tower_hidden', 'tower_ffn', 'tower_heads', 'tower_positions', 'shared_ffn', 'normalizes', 'o_bias', 'mlp_bias', 'dropout', 'parameters']


def shape_of_row(m):
    moe = m['moe'] or {}
    linear = m.get('linear_attention') or {}
    tower = m.get('vision') or {}
    part = m.get('partial_rotary_factor') or 1
    architecture = m['architecture'] or {'qwen3.5': 'Qwen3_5MoeForCausalLM' if moe else 'Qwen3_5ForCausalLM'}[m['family']]
    is_normalized = moe.get('norm_topk_prob', architecture == 'Qwen3_5MoeForCausalLM')
    return [m['id'], architecture, m['num_hidden_layers'], m['hidden_size'], m['intermediate_size'] or 0,
            m['num_attention_heads'], m['num_key_value_heads'], m['head_dim'], m['vocab_size'],
            m['max_position_embeddings'], m['sliding_window'] or 0, m.get('rotary_dim') or (int(m['head_dim'] * part) if part < 1 else 0),
            int(m['tie_word_embeddings']), int(m['qkv_bias']), int(m['qk_norm']), moe.get('num_experts', 0), moe.get('experts_per_tok', 0),
            moe.get('moe_intermediate_size', 0),
            *[linear.get('linear_' + size, 0) for size in ('num_key_heads', 'num_value_heads', 'key_head_dim',
                                                           'value_head_dim', 'conv_kernel_dim')],
            *[tower.get(size, 0) for size in ('hidden', 'intermediate', 'heads', 'num_position_embeddings')],
            moe.get('shared_expert_intermediate_size', 0), int(is_normalized),
            int(m.get('attention_o_bias', False)), int(m.get('mlp_bias', False)), int(m.get('dropout', False)), m['params_total']]


def shape_of_config(path):
    c = json.load(open(path))
    heads = c['num_attention_heads']
    head_dim = c.get('head_dim') or c['hidden_size'] // heads
    part = c.get('partial_rotary_factor') or 1
    return [os.path.basename(os.path.dirname(path)), c['architectures'][0], c['num_hidden_layers'], c['hidden_size'],
            c['intermediate_size'], heads, c.get('num_key_value_heads', heads),
            head_dim, c['vocab_size'], c['max_position_embeddings'], 0, int(head_dim * part) if part < 1 else 0,
            int(c.get('tie_word_embeddings', False)), *[0] * 19, '']


def write_shapes(out, models, configs, ids):
    rows = {m['id']: shape_of_row(m) for m in json.load(open(models)) if m['id'] in ids}
    missing = [i for i in ids if i not in rows]
    assert not missing, missing
    with open(out, 'w', newline='') as f:
        w = csv.writer(f, lineterminator='\n')
        w.writerow(SHAPE)
        w.writerows(rows[i] for i in ids)
        w.writerow(['deepseek-coder-1.3b', 'LlamaForCausalLM', 24, 2048, 5504, 16, 16, 128, 32256, 16384, *[0] * 22,
                    1346471936])  # as its T4 rows give it
        w.writerows(shape_of_config(c) for c in configs)


T4 = ['id', 'source_repo', 'source_path', 'source_commit', 'torch', 'transformers', 'peft', 'model', 'method',
      'lora_r', 'lora_targets', 'base_dtype', 'micro_batch', 'seq_len', 'grad_checkpointing', 'attention',
      'after_load_mib', 'peak_forward_mib', 'peak_optimizer_mib', 'peak_allocated_mib', 'max_reserved_mib',
      'context_mib', 'reserved_of_repeats']


# A later file of the same person (data/measurements/final-t4-20260921.json at 83aea542a90a), QLoRA of rank 16,
# one sequence of 1,024 tokens: row_id, model, attention, then MiB after load, peak of the forward, of the optimizer,
# of the step, reserved. It does not say its versions.
T4_FINAL = """\
2169f0e16ea4 qwen2.5-7b eager 7702.3681640625 9410.77587890625 8496.75537109375 10584.767578125 11746
35abf657c6f7 mistral-7b-v0.3 eager 4832.6259765625 5833.8916015625 5216.88427734375 6190.583984375 6740
368230c435f7 deepseek-coder-1.3b eager 1202.2158203125 1731.49462890625 1456.47412109375 1975.486328125 2274
4a617ca7c36c deepseek-coder-1.3b sdpa 1202.4658203125 1727.74462890625 1456.72412109375 1971.736328125 2172
5b933ab49870 mistral-7b-v0.3 sdpa 4846.6259765625 5767.90478515625 5230.88427734375 6056.275390625 6400
74c48249f5ad qwen2.5-1.5b sdpa 1632.6181640625 3053.16259765625 2323.26708984375 4235.154296875 5212
91cff4bd59e6 qwen2.5-1.5b eager 1628.3056640625 3053.78759765625 2319.51708984375 4235.779296875 5060
9542dd6f064c qwen2.5-7b sdpa 7707.7900390625 9411.82275390625 8501.80224609375 10585.814453125 11880
a17e63a61ecf llama3.2-3b eager 3052.2646484375 4507.54345703125 3734.52294921875 5498.53515625 6212
a396128b4c55 llama3.2-3b sdpa 3052.7646484375 4504.04345703125 3735.02294921875 5495.03515625 6268
cb26baa4af47 llama3.2-1b sdpa 1537.3134765625 2727.09228515625 2122.57177734375 3723.083984375 4026
feca394ad10d llama3.2-1b eager 1538.3134765625 2732.09228515625 2123.57177734375 3728.083984375 4058"""


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
        for line in T4_FINAL.split('\n'):
            row, model, attention, *mib = line.split()
            w.writerow(['final-' + row, 'Anassbzdd/fitcheck', 'data/measurements/final-t4-20260921.json',
                        '83aea542a90a', '', '', '', model, 'qlora', 16, 'attention', 'nf4', 1, 1024, 1, attention,
                        *mib, 140.875, ''])


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
