#!/usr/bin/env python3
"""Puts PyTorch's times beside those of `videoworld-studio bench full`, on the same machine.

    videoworld-studio bench full --device vulkan --precision f16 --json cost.json
    python3 tests/beside_pytorch.py cost.json

Needs PyTorch and nothing else. The networks have the shapes of the release and random weights; the
sizes come from the names in the table. On a card the video networks are in bfloat16 and the policy,
as in the studio, in single precision; on a processor all is. Aims: a transformer block and a decoded step of the video autoencoder at most
four times PyTorch's time, the policy at least half of its codes a second.
"""

import json
import re
import sys
import time

import torch
import torch.nn.functional as F

WIDTH, HEADS, CONTEXT, CONTEXT_WIDTH, ADALN = 2048, 16, 512, 1024, 256
POLICY = dict(width=4096, heads=32, kv_heads=8, hidden=14336, layers=16, vocabulary=64000)
LATENT_CHANNELS = 16
VAE_WIDTHS = [384, 384, 192, 96]  # of the decoder's levels, coarsest first

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32


def weight(*shape, dtype=dtype):
    return torch.randn(*shape, device=device, dtype=dtype) / shape[-1] ** 0.5


def seconds(work, repeats=5):
    """The median of some runs, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[repeats // 2]


def block(tokens):
    """One block of the video transformer: attention, attention to the context, feed-forward."""
    square = [weight(WIDTH, WIDTH) for _ in range(6)]
    of_context = [weight(WIDTH, CONTEXT_WIDTH) for _ in range(2)]
    wide, narrow = weight(4 * WIDTH, WIDTH), weight(WIDTH, 4 * WIDTH)
    context = weight(1, CONTEXT, CONTEXT_WIDTH)
    x = weight(1, tokens, WIDTH)

    def heads(t):
        t = t.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return F.rms_norm(t, t.shape[-1:])

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def run():
        h = F.layer_norm(x, (WIDTH,))
        q, k, v = (heads(F.linear(h, w)) for w in square[:3])
        y = x + F.linear(attend(q, k, v), square[3])
        h = F.layer_norm(y, (WIDTH,))
        k, v = (heads(F.linear(context, w)) for w in of_context)
        y = y + F.linear(attend(heads(F.linear(h, square[4])), k, v), square[5])
        h = F.layer_norm(y, (WIDTH,))
        return y + F.linear(F.gelu(F.linear(h, wide)), narrow)

    return run


def decoder_step(height, width):
    """What the video autoencoder decodes four frames with, level by level."""

    def residual(inputs, outputs):
        first, second = weight(outputs, inputs, 3, 3, 3), weight(outputs, outputs, 3, 3, 3)
        skip = weight(outputs, inputs, 1, 1, 1) if inputs != outputs else None

        def run(x):
            h = F.conv3d(F.silu(F.normalize(x, dim=1)), first, padding=1)
            h = F.conv3d(F.silu(F.normalize(h, dim=1)), second, padding=1)
            return h + (x if skip is None else F.conv3d(x, skip))

        return run

    levels, inputs = [], VAE_WIDTHS[0]
    for level, outputs in enumerate(VAE_WIDTHS):
        blocks = [residual(inputs if i == 0 else outputs, outputs) for i in range(3)]
        last = level + 1 == len(VAE_WIDTHS)
        inputs = outputs // 2 if not last else outputs
        up = None if last else weight(inputs, outputs, 1, 3, 3)
        in_time = weight(2 * outputs, outputs, 3, 1, 1) if level < 2 else None
        levels.append((blocks, up, in_time))
    head = weight(3, inputs, 3, 3, 3)
    widest = VAE_WIDTHS[0]
    into = weight(widest, LATENT_CHANNELS, 3, 3, 3)
    before, behind = residual(widest, widest), residual(widest, widest)
    qkv, out = weight(3 * widest, widest, 1, 1, 1), weight(widest, widest, 1, 1, 1)
    x = weight(1, LATENT_CHANNELS, 1, height // 8, width // 8)

    def attend(x):
        frame = F.conv3d(F.normalize(x, dim=1), qkv).flatten(3).squeeze(2).transpose(1, 2)
        y = F.scaled_dot_product_attention(*frame.unsqueeze(1).chunk(3, dim=-1))
        return x + F.conv3d(y.squeeze(1).transpose(1, 2).reshape(x.shape), out)

    def run():
        h = behind(attend(before(F.conv3d(x, into, padding=1))))
        for blocks, up, in_time in levels:
            for layer in blocks:
                h = layer(h)
            if in_time is not None:
                h = F.conv3d(h, in_time, padding=(1, 0, 0)).unflatten(1, (2, -1))
                h = h.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
            if up is not None:
                h = F.conv3d(F.interpolate(h, scale_factor=(1, 2, 2)), up, padding=(0, 1, 1))
        return F.conv3d(F.silu(F.normalize(h, dim=1)), head, padding=1)

    return run


def policy(codes):
    """Some codes of the base model of 4B, one after the other, without its cache's upkeep."""
    at = POLICY
    kv = at["width"] * at["kv_heads"] // at["heads"]
    width, hidden = at["width"], at["hidden"]

    def single(*shape):
        return weight(*shape, dtype=torch.float32)

    layer = [single(width, width), single(kv, width), single(kv, width), single(width, width)]
    layer += [single(hidden, width) for _ in range(2)]
    down, out = single(width, hidden), single(at["vocabulary"], width)

    def run_layer():
        x = single(1, 1, width)
        for _ in range(codes):
            q, k, v, o, gate, up = layer
            y = x + F.linear(F.linear(x, q), o) + F.linear(x, k).sum() + F.linear(x, v).sum()
            x = y + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), down)

    def run_out():
        x = single(1, 1, width)
        for _ in range(codes):
            F.linear(x, out)

    return run_layer, run_out


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    cost = json.load(open(sys.argv[1]))
    size = re.search(r"frames of (\d+)x(\d+)", cost["title"])
    width, height = int(size[1]), int(size[2])
    name = torch.cuda.get_device_name() if device == "cuda" else "the processor"
    print(f"{cost['title']}\nstudio: {cost['device']}\nPyTorch {torch.__version__}: {name}, {dtype}")
    print(f"  {'one of':40}{'studio':>12}{'PyTorch':>12}{'ratio':>8}")
    with torch.inference_mode():
        for row in cost["costs"]:
            tokens = re.match(r"transformer block, (\d+) tokens", row["name"])
            step = row["name"] == "video VAE decoder, 4 frames"
            layer = re.match(r"policy of 4B, a layer, (\d+) codes", row["name"])
            ends = re.match(r"policy of 4B, in and out, (\d+) codes", row["name"])
            if tokens:
                work = block(int(tokens[1]))
            elif step:
                work = decoder_step(height, width)
            elif layer:
                work = policy(int(layer[1]))[0]
            elif ends:
                work = policy(int(ends[1]))[1]
            else:
                continue
            theirs, ours = seconds(work), row["seconds"]
            print(f"  {row['name']:40}{ours:>10.4f} s{theirs:>10.4f} s{ours / theirs:>8.2f}")


if __name__ == "__main__":
    main()
