// Canonical weights to the packed layout. Runs once per weight at load; a plain loop per format, a
// panel at a time.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/packed_layout.h"
#include "kernels/formats/small_float.h"

namespace fettle::kernels {
namespace {

// What makes up for the vector code's reading of E4M3 as float16 with the exponent 8 too low.
constexpr float kE4m3Factor = 256.0F;

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
void codesOf(const WeightView& w, std::int64_t r, std::int64_t g, std::uint8_t* out) {
    const std::uint8_t* row = rowOf(w, r);
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
        case WeightFormat::Q3_K:
            for (int l = 0; l < 32; ++l)
                out[l] = static_cast<std::uint8_t>(threeBitCode(row + 110 * (g / 8), 32 * s + l));
            return;
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
        default:
            return groupCodes(w, r, g, out);
    }
}

void compress(const Codes& codes, int bits, std::uint8_t* out) {
    if (bits == 8) {
        std::memcpy(out, codes, sizeof(Codes));
        return;
    }
    if (bits < 4) {
        for (int b = 0; b < 64; ++b) {
            for (int j = 0; j < 2; ++j) {
                unsigned low = 0;
                for (int i = 0; i < 4; ++i)
                    low |= (codes[4 * j + i][b] & 3u) << (2 * i);
                out[64 * j + b] = static_cast<std::uint8_t>(low);
            }
            unsigned high = 0;
            for (int s = 0; s < 8; ++s)
                high |= static_cast<unsigned>(codes[s][b] >> 2) << s;
            if (bits == 3)
                out[128 + b] = static_cast<std::uint8_t>(high);
        }
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
            codesOf(w, first + r, g, row);
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
                const bool three = w.format == WeightFormat::Q3_K;
                std::memcpy(to + 2 * r, in + (three ? 108 : 208), 2);
                for (int s = 0; s < 16; ++s)
                    to[32 + 16 * s + r] =
                        three ? static_cast<std::uint8_t>(threeBitScale(in + 96, s)) : in[192 + s];
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

/// Scales of a row of NvFp4. The vector code reads E4M3 without the NaN, and 2^-8 of the value; the
/// row's factor makes up for both.
void packHalfScales(const WeightView& w, const PackedLayout& p, std::int64_t row, int r,
                    std::uint8_t* sc) {
    const auto* in = static_cast<const std::uint8_t*>(w.scales) + row * p.groups * 2;
    float factor = kE4m3Factor / 2 / w.globalScale;
    for (std::int64_t h = 0; h < 2 * p.groups; ++h) {
        if (std::isnan(e4m3ToFloat(in[h])))
            factor = std::numeric_limits<float>::quiet_NaN();
        sc[64 + 16 * h + r] = in[h];
    }
    std::memcpy(sc + 4 * r, &factor, 4);
}

void packPowerScales(const WeightView& w, const PackedLayout& p, std::int64_t row, int r,
                     std::uint8_t* sc) {
    const auto* in = static_cast<const std::uint8_t*>(w.scales) + row * p.groups;
    for (std::int64_t g = 0; g < p.groups; ++g)
        sc[16 * g + r] = in[g];
}

/// E4M3 codes of some rows, and their scales with what packHalfScales says.
void packFp8(const WeightView& w, const PackedLayout& p, std::int64_t first, int count,
             std::uint8_t* out) {
    for (int r = 0; r < count; ++r) {
        const std::uint8_t* in = rowOf(w, first + r);
        float factor = kE4m3Factor * weightScale(w, first + r);
        for (std::int64_t k = 0; k < w.cols; ++k) {
            if ((in[k] & 0x7F) == 0x7F)
                factor = std::numeric_limits<float>::quiet_NaN();
            out[16 * k + r] = in[k];
        }
        std::memcpy(out + p.scaleOffset + 4 * static_cast<std::size_t>(r), &factor, 4);
    }
}

bool isE4m3(WeightFormat format) {
    return format == WeightFormat::MxFp8 || format == WeightFormat::Fp8Group;
}

/// What a byte of the code section stands for, as a factor of the scale.
float widenedFactor(WeightFormat format) {
    return isE4m3(format) ? kE4m3Factor : format == WeightFormat::MxFp6 ? 0.125F : 1;
}

void packWidened(const WeightView& w, const PackedLayout& p, std::int64_t first, int count,
                 std::uint8_t* out) {
    std::uint8_t codes[kGroupValues];
    for (int r = 0; r < count; ++r) {
        for (std::int64_t g = 0; g < w.cols / kGroupValues; ++g) {
            const std::int64_t block = g * kGroupValues / w.groupSize,
                               scale = (first + r) * (w.cols / w.groupSize) + block;
            float factor = widenedFactor(w.format) * weightScale(w, scale);
            groupCodes(w, first + r, g, codes);
            for (std::int64_t i = 0; i < kGroupValues; ++i) {
                const std::int64_t k = g * kGroupValues + i;
                if (w.format == WeightFormat::Nf4Group) {
                    std::uint8_t& pair = out[k / 2 * 16 + r];
                    pair = static_cast<std::uint8_t>(pair | codes[i] << (4 * (k % 2)));
                    continue;
                }
                if (isE4m3(w.format) && (codes[i] & 0x7F) == 0x7F)
                    factor = std::numeric_limits<float>::quiet_NaN();
                out[16 * k + r] = isE4m3(w.format)
                                      ? codes[i]
                                      : static_cast<std::uint8_t>(static_cast<std::int8_t>(
                                            8 * codeValue(w.format, codes[i])));
            }
            std::memcpy(out + p.scaleOffset + 64 * static_cast<std::size_t>(block) +
                            4 * static_cast<std::size_t>(r),
                        &factor, 4);
        }
    }
}

void packScales(const WeightView& w, const PackedLayout& p, std::int64_t row, int r,
                std::uint8_t* panel) {
    std::uint8_t* sc = panel + p.scaleOffset;
    if (w.format == WeightFormat::Int8Channel) {
        const float s = weightScale(w, row);
        std::memcpy(sc + 4 * static_cast<std::size_t>(r), &s, 4);
        return;
    }
    switch (p.scales) {
        case ScaleLayout::E4M3Halves:
            return packHalfScales(w, p, row, r, sc);
        case ScaleLayout::E8M0:
            return packPowerScales(w, p, row, r, sc);
        default:
            return blockValues(w.format) > 1 ? packBlockScales(w, p, row, r, sc)
                                             : packGroupScales(w, p, row, r, panel);
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
            if (p.scaleGroup > 0)
                packWidened(w, p, first, count, to);
            else if (w.format == WeightFormat::Fp8Channel)
                packFp8(w, p, first, count, to);
            else
                packPlain(w, first, count, to);
            continue;
        }
        packCodes(w, p, panel, to);
        for (int r = 0; r < count; ++r)
            packScales(w, p, first + r, r, to);
    }
}

}  // namespace fettle::kernels
