// Passes over all weights: finite values, content hash, histograms. Each reads a tensor once, in
// pieces, and gives its pages back, so that a model larger than memory can be checked.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"
#include "engine/model/model.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr std::size_t kPiece = std::size_t{4} << 20;

/// Index of the first value that has all bits of `exponent` (infinity or NaN), or -1.
template <typename T>
std::int64_t firstNonFinite(const std::byte* data, std::size_t count, T exponent) {
    const T* values = reinterpret_cast<const T*>(data);
    for (std::size_t begin = 0; begin < count; begin += 4096) {
        const std::size_t end = std::min(count, begin + 4096);
        unsigned bad = 0;  // no early exit inside, so that the compiler can use vectors
        for (std::size_t i = begin; i < end; ++i)
            bad |= (values[i] & exponent) == exponent;
        if (!bad)
            continue;
        for (std::size_t i = begin; i < end; ++i)
            if ((values[i] & exponent) == exponent)
                return static_cast<std::int64_t>(i);
    }
    return -1;
}

std::int64_t firstNonFinite(const Tensor& tensor) {
    const std::size_t size = dtypeBytes(tensor.dtype());
    std::int64_t found = -1;
    for (std::size_t begin = 0; begin < tensor.bytes() && found < 0; begin += kPiece) {
        const std::size_t count =
            std::min(kPiece, tensor.bytes() - begin) / std::max<std::size_t>(size, 1);
        const std::byte* data = tensor.data() + begin;
        switch (tensor.dtype()) {
            case DType::F32:
                found = firstNonFinite<std::uint32_t>(data, count, 0x7F800000u);
                break;
            case DType::F16:
                found = firstNonFinite<std::uint16_t>(data, count, 0x7C00u);
                break;
            case DType::BF16:
                found = firstNonFinite<std::uint16_t>(data, count, 0x7F80u);
                break;
            case DType::F8E4M3:  // no infinity, and one NaN
                found = firstNonFinite<std::uint8_t>(data, count, 0x7Fu);
                break;
            case DType::U8:  // E8M0 scales
                found = firstNonFinite<std::uint8_t>(data, count, 0xFFu);
                break;
            default:
                return -1;
        }
        if (found >= 0)
            found += static_cast<std::int64_t>(begin / size);
    }
    return found;
}

/// Where the float16 scales of a block lie.
std::vector<std::size_t> scaleOffsets(WeightFormat format) {
    switch (format) {
        case WeightFormat::Q8_0:
        case WeightFormat::Q4_0:
        case WeightFormat::Q5_0:
            return {0};
        case WeightFormat::Q4_1:
        case WeightFormat::Q5_1:
        case WeightFormat::Q4_K:
        case WeightFormat::Q5_K:
            return {0, 2};
        case WeightFormat::Q3_K:
            return {108};
        case WeightFormat::Q6_K:
            return {208};
        default:
            return {};
    }
}

std::int64_t firstNonFiniteBlock(const QuantizedTensor& tensor, RunControl& control) {
    const std::vector<std::size_t> offsets = scaleOffsets(tensor.scheme.format);
    const std::size_t block = kernels::blockBytes(tensor.scheme.format),
                      blocks = tensor.codes.bytes() / block;
    for (std::size_t i = 0; i < blocks; ++i) {
        if (i % 262144 == 0)
            control.check();
        for (const std::size_t offset : offsets) {
            std::uint16_t scale;
            std::memcpy(&scale, tensor.codes.data() + i * block + offset, sizeof scale);
            if ((scale & 0x7C00) == 0x7C00)
                return static_cast<std::int64_t>(i) * kernels::blockValues(tensor.scheme.format);
        }
    }
    return -1;
}

/// Element at which a weight stops being finite, -1 if never.
std::int64_t firstNonFinite(const Weight& weight, RunControl& control) {
    if (!weight.isQuantized())
        return firstNonFinite(weight.dense());
    const QuantizedTensor& quantized = weight.quantized();
    if (quantized.codes.dtype() == DType::Block)
        return firstNonFiniteBlock(quantized, control);
    if (!std::isfinite(quantized.globalScale) || !std::isfinite(quantized.inputGlobalScale))
        return 0;
    if (quantized.scheme.format == WeightFormat::Fp8Channel ||
        quantized.scheme.format == WeightFormat::MxFp8 ||
        quantized.scheme.format == WeightFormat::Fp8Group) {
        const std::int64_t at = firstNonFinite(quantized.codes);
        if (at >= 0)
            return at;
    }
    return firstNonFinite(quantized.scales);
}

class Hasher {
public:
    Hasher() : m_state(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(m_state.get()); }

    void add(const void* data, std::size_t bytes) {
        XXH3_128bits_update(m_state.get(), data, bytes);
    }
    /// With its length, so that two texts in a row cannot pass for two others.
    void add(const std::string& text) {
        addNumber(text.size());
        add(text.data(), text.size());
    }
    void addNumber(std::uint64_t number) { add(&number, sizeof number); }
    void add(const Tensor& tensor, RunControl& control) {
        addNumber(tensor.bytes());
        for (std::size_t begin = 0; begin < tensor.bytes(); begin += kPiece) {
            control.check();
            add(tensor.data() + begin, std::min(kPiece, tensor.bytes() - begin));
        }
    }
    std::string hex() const {
        const XXH128_hash_t hash = XXH3_128bits_digest(m_state.get());
        char text[33];
        std::snprintf(text, sizeof text, "%016llx%016llx",
                      static_cast<unsigned long long>(hash.high64),
                      static_cast<unsigned long long>(hash.low64));
        return text;
    }

private:
    std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> m_state;
};

void addTokenizer(Hasher& hasher, const Tokenizer& tokenizer) {
    const GgufTokenizerData data = tokenizer.toGguf();
    hasher.add(data.model);
    hasher.add(data.pre);
    for (const auto* list : {&data.tokens, &data.merges}) {
        hasher.addNumber(list->size());
        for (const std::string& text : *list)
            hasher.add(text);
    }
    hasher.addNumber(data.scores.size());
    hasher.add(data.scores.data(), data.scores.size() * sizeof(float));
    hasher.addNumber(static_cast<std::uint64_t>(data.addBos) |
                     static_cast<std::uint64_t>(data.addEos) << 1 |
                     static_cast<std::uint64_t>(data.addSpacePrefix) << 2);
}

/// The canonical weights that a name stands for.
std::vector<std::string> weightsNamed(const Model& model, const std::string& name) {
    if (model.has(name))
        return {name};
    std::vector<std::string> found;
    for (const auto& [canonical, fileName] : model.fileNames)
        if (fileName == name)
            found.push_back(canonical);
    if (found.empty())
        throwBadInput(model.path, "has no tensor " + inQuotes(name));
    return found;
}

/// Calls visit(values, count) for every row of the weights.
template <typename Visit>
void forEachRow(const Model& model, const std::vector<std::string>& names, RunControl& control,
                Visit visit) {
    std::vector<float> row;
    for (const std::string& name : names) {
        const Weight& weight = model.weight(name);
        const kernels::WeightView view = weight.view();
        row.resize(static_cast<std::size_t>(view.cols));
        for (std::int64_t r = 0; r < view.rows; ++r) {
            if (r % 256 == 0)
                control.check();
            weight.rowToFloat(r, row.data());
            visit(row.data(), row.size());
        }
        weight.dropPages();
    }
}

}  // namespace

void refuseNonFinite(const Model& model, RunControl& control) {
    for (const auto& [name, weight] : model.weights) {
        control.check();
        const std::int64_t at = firstNonFinite(weight, control);
        weight.dropPages();
        if (at < 0)
            continue;
        const auto file = model.fileNames.find(name);
        throwBadInput(model.path,
                      "tensor " + inQuotes(file == model.fileNames.end() ? name : file->second) +
                          " holds NaN or infinite values (element " + std::to_string(at) + ")");
    }
}

std::string modelHash(const Model& model, RunControl& control) {
    Hasher hasher;
    nlohmann::json config = modelConfigToHuggingFace(model.config);
    for (const char* key : {"transformers_version", "_name_or_path"})
        config.erase(key);
    hasher.add(config.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    if (model.tokenizer)
        addTokenizer(hasher, *model.tokenizer);
    for (const auto& [name, weight] : model.weights) {
        hasher.add(name);
        hasher.add(weight.typeName());
        hasher.add(toString(weight.shape()));
        if (weight.isQuantized()) {
            hasher.add(weight.quantized().codes, control);
            hasher.add(weight.quantized().scales, control);
            hasher.add(weight.quantized().zeroPoints, control);
            hasher.add(weight.quantized().lowRankIn, control);
            hasher.add(weight.quantized().lowRankOut, control);
            if (weight.quantized().scheme.format == WeightFormat::NvFp4) {
                hasher.add(&weight.quantized().globalScale, sizeof(float));
                hasher.add(&weight.quantized().inputGlobalScale, sizeof(float));
            }
        } else {
            hasher.add(weight.dense(), control);
        }
        weight.dropPages();
    }
    refuseChangedFiles(model);
    return hasher.hex();
}

TensorHistogram tensorHistogram(const Model& model, const std::string& tensor, int bins,
                                RunControl& control) {
    const std::vector<std::string> names = weightsNamed(model, tensor);
    TensorHistogram histogram;
    histogram.tensor = tensor;
    histogram.bins.assign(static_cast<std::size_t>(std::clamp(bins, 1, 65536)), 0);
    double sum = 0, squares = 0, zeros = 0;
    histogram.minimum = std::numeric_limits<double>::infinity();
    histogram.maximum = -histogram.minimum;
    forEachRow(model, names, control, [&](const float* values, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            const double value = values[i];
            if (!std::isfinite(value))
                throwBadInput(model.path,
                              "tensor " + inQuotes(tensor) + " holds NaN or infinite values");
            histogram.minimum = std::min(histogram.minimum, value);
            histogram.maximum = std::max(histogram.maximum, value);
            sum += value;
            squares += value * value;
            zeros += value == 0;
        }
        histogram.count += count;
    });
    const auto count = static_cast<double>(histogram.count);
    if (histogram.count == 0) {
        histogram.minimum = histogram.maximum = 0;
        return histogram;
    }
    histogram.mean = sum / count;
    histogram.standardDeviation =
        std::sqrt(std::max(0.0, squares / count - histogram.mean * histogram.mean));
    histogram.zeros = zeros / count;
    const double width = histogram.maximum - histogram.minimum;
    const auto last = histogram.bins.size() - 1;
    forEachRow(model, names, control, [&](const float* values, std::size_t size) {
        for (std::size_t i = 0; i < size; ++i) {
            const double at = width > 0 ? (values[i] - histogram.minimum) / width *
                                              static_cast<double>(histogram.bins.size())
                                        : 0;
            ++histogram.bins[std::min(last, static_cast<std::size_t>(at))];
        }
    });
    return histogram;
}

}  // namespace fettle
