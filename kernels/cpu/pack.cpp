// Canonical weights to the packed layout. Runs once per weight at load; a plain loop per format, a
// panel at a time.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/packed_layout.h"

namespace fettle::kernels {
namespace {

using Codes = std::uint8_t[8][64];  // one group of one panel: [step][4*row + k%4]

const std::uint8_t* rowOf(const WeightView& w, std::int64_t row) {
    return static_cast<const std::uint8_t*>(w.data) +
           static_cast<std::size_t>(row) * rowBytes(w.format, w.cols);
}

void splitNibbles(const std::uint8_t* qs, std::uint8_t* out) {
    for (int i = 0; i < 16; ++i) {
        out[i] = qs[i] & 15;
        out[i + 16] = qs[i] >> 4;
    }
}

void addFifthBits(const std::uint8_t* qh, std::uint8_t* out) {
    for (int i = 0; i < 32; ++i)
        out[i] = static_cast<std::uint8_t>(out[i] | ((qh[i / 8] >> (i % 8)) & 1) << 4);
}

/// Low nibbles of sub-block s of a Q4_K or Q5_K block.
void subBlockNibbles(const std::uint8_t* qs, int s, std::uint8_t* out) {
    for (int l = 0; l < 32; ++l)
        out[l] = qs[32 * (s / 2) + l] >> (4 * (s % 2)) & 15;
}

/// The 32 unsigned codes of group g of one row.
void groupCodes(const WeightView& w, const std::uint8_t* row, std::int64_t g, std::uint8_t* out) {
    const int s = static_cast<int>(g % 8);
    switch (w.format) {
        case WeightFormat::Q8_0:
            for (int i = 0; i < 32; ++i)
                out[i] = row[34 * g + 2 + i] ^ 0x80;
            return;
        case WeightFormat::Int8Channel: {
            const auto count = static_cast<int>(std::min<std::int64_t>(32, w.cols - 32 * g));
            for (int i = 0; i < count; ++i)
                out[i] = row[32 * g + i] ^ 0x80;
            std::fill(out + count, out + 32, std::uint8_t{0x80});
            return;
        }
        case WeightFormat::Q4_0:
            return splitNibbles(row + 18 * g + 2, out);
        case WeightFormat::Q4_1:
            return splitNibbles(row + 20 * g + 4, out);
        case WeightFormat::Q5_0:
            splitNibbles(row + 22 * g + 6, out);
            return addFifthBits(row + 22 * g + 2, out);
        case WeightFormat::Q5_1:
            splitNibbles(row + 24 * g + 8, out);
            return addFifthBits(row + 24 * g + 4, out);
        case WeightFormat::Q4_K:
            return subBlockNibbles(row + 144 * (g / 8) + 16, s, out);
        case WeightFormat::Q5_K: {
            const std::uint8_t* block = row + 176 * (g / 8);
            subBlockNibbles(block + 48, s, out);
            for (int l = 0; l < 32; ++l)
                out[l] = static_cast<std::uint8_t>(out[l] | ((block[16 + l] >> s) & 1) << 4);
            return;
        }
        case WeightFormat::Q6_K:
            for (int l = 0; l < 32; ++l)
                out[l] = static_cast<std::uint8_t>(sixBitCode(row + 210 * (g / 8), 32 * s + l));
            return;
        case WeightFormat::Int4Group:
            for (int i = 0; i < 16;
                 ++i) {  // nibble k%8 of little-endian word k/8 is nibble k%2 of byte k/2
                out[2 * i] = row[16 * g + i] & 15;
                out[2 * i + 1] = row[16 * g + i] >> 4;
            }
            return;
        default:
            return;
    }
}

void compress(const Codes& codes, int bits, std::uint8_t* out) {
    if (bits == 8) {
        std::memcpy(out, codes, sizeof(Codes));
        return;
    }
    for (int j = 0; j < 4; ++j)
        for (int b = 0; b < 64; ++b)
            out[64 * j + b] =
                static_cast<std::uint8_t>((codes[2 * j][b] & 15) | (codes[2 * j + 1][b] & 15) << 4);
    const int perByte = bits == 5 ? 8 : 4, highBits = bits - 4;
    for (int h = 0; bits > 4 && h < 8 / perByte; ++h) {
        std::uint8_t* plane = out + 256 + 64 * h;
        for (int b = 0; b < 64; ++b) {
            unsigned v = 0;
            for (int i = 0; i < perByte; ++i)
                v |= static_cast<unsigned>(codes[perByte * h + i][b] >> 4) << (highBits * i);
            plane[b] = static_cast<std::uint8_t>(v);
        }
    }
}

void packCodes(const WeightView& w, const PackedLayout& p, std::int64_t panel, std::uint8_t* out) {
    const std::int64_t first = panel * kPanelRows;
    const int count = static_cast<int>(std::min(kPanelRows, p.rows - first));
    Codes codes = {};
    for (std::int64_t g = 0; g < p.groups; ++g) {
        for (int r = 0; r < count; ++r) {
            std::uint8_t row[32];
            groupCodes(w, rowOf(w, first + r), g, row);
            for (int s = 0; s < 8; ++s)
                std::memcpy(&codes[s][4 * r], row + 4 * s, 4);
        }
        compress(codes, p.codeBits, out + static_cast<std::size_t>(g) * p.groupBytes);
    }
}

/// Scale-section entries of row r (0..15) of a panel; `sc` is the section's start.
void packBlockScales(const WeightView& w, const PackedLayout& p, std::int64_t row, int r,
                     std::uint8_t* sc) {
    const std::size_t block = blockBytes(w.format);
    const std::uint8_t* in = rowOf(w, row);
    const std::int64_t blocks = p.groups / p.groupsPerScale;
    for (std::int64_t b = 0; b < blocks; ++b, in += block) {
        switch (p.scales) {
            case ScaleLayout::F16:
                std::memcpy(sc + 32 * b + 2 * r, in, 2);
                break;
            case ScaleLayout::F16Min:
                std::memcpy(sc + 64 * b + 2 * r, in, 2);
                std::memcpy(sc + 64 * b + 32 + 2 * r, in + 2, 2);
                break;
            case ScaleLayout::SubMin: {
                std::uint8_t* to = sc + 320 * b;
                std::memcpy(to + 2 * r, in, 2);
                std::memcpy(to + 32 + 2 * r, in + 2, 2);
                for (int s = 0; s < 8; ++s) {
                    const SubScale sub = subScale(in + 4, s);
                    to[64 + 16 * s + r] = static_cast<std::uint8_t>(sub.scale);
                    to[192 + 16 * s + r] = static_cast<std::uint8_t>(sub.min);
                }
                break;
            }
            case ScaleLayout::Sub16: {
                std::uint8_t* to = sc + 288 * b;
                std::memcpy(to + 2 * r, in + 208, 2);
                for (int s = 0; s < 16; ++s)
                    to[32 + 16 * s + r] = in[192 + s];
                break;
            }
            default:
                break;
        }
    }
}

void packGroupScales(const WeightView& w, const PackedLayout& p, std::int64_t row, int r,
                     std::uint8_t* panel) {
    const std::int64_t blocks = p.groups / p.groupsPerScale;
    const std::size_t size = w.scaleType == ScaleType::F32 ? 4 : 2;
    const auto* in = static_cast<const std::uint8_t*>(w.scales);
    for (std::int64_t b = 0; b < blocks; ++b) {
        std::memcpy(panel + p.scaleOffset + static_cast<std::size_t>(16 * b + r) * size,
                    in + static_cast<std::size_t>(row * blocks + b) * size, size);
        if (p.zeroPoints)
            panel[p.zeroOffset + static_cast<std::size_t>(16 * b + r)] =
                static_cast<std::uint8_t>(zeroPoint(w, row, b));
    }
}

void packPlain(const WeightView& w, std::int64_t first, int count, std::uint8_t* out) {
    const std::size_t size = blockBytes(w.format);
    const bool pairs = w.format == WeightFormat::BF16;
    for (int r = 0; r < count; ++r) {
        const std::uint8_t* in = rowOf(w, first + r);
        for (std::int64_t k = 0; k < w.cols; ++k) {
            const std::int64_t at = pairs ? k / 2 * 32 + 2 * r + k % 2 : k * 16 + r;
            std::memcpy(out + static_cast<std::size_t>(at) * size,
                        in + static_cast<std::size_t>(k) * size, size);
        }
    }
}

}  // namespace

void packPanels(const WeightView& w, const PackedLayout& p, std::int64_t begin, std::int64_t end,
                std::byte* out) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
        auto* to =
            reinterpret_cast<std::uint8_t*>(out) + static_cast<std::size_t>(panel) * p.panelBytes;
        const std::int64_t first = panel * kPanelRows;
        const int count = static_cast<int>(std::min(kPanelRows, p.rows - first));
        std::memset(to, 0, p.panelBytes);  // rows that are not there weigh nothing
        if (p.groups == 0) {
            packPlain(w, first, count, to);
            continue;
        }
        packCodes(w, p, panel, to);
        for (int r = 0; r < count; ++r) {
            if (w.format == WeightFormat::Int8Channel) {
                const float s = weightScale(w, first + r);
                std::memcpy(to + p.scaleOffset + 4 * static_cast<std::size_t>(r), &s, 4);
            } else if (w.format == WeightFormat::Int4Group) {
                packGroupScales(w, p, first + r, r, to);
            } else {
                packBlockScales(w, p, first + r, r, to + p.scaleOffset);
            }
        }
    }
}

}  // namespace fettle::kernels
