#include "engine/distill/teacher_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/io/safetensors_reader.h"
#include "engine/io/safetensors_writer.h"
#include "engine/io/strict_json.h"
#include "kernels/formats/weight_format.h"
#include "kernels/ops/loss.h"

namespace fettle {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "fettle teacher cache 1";
constexpr const char* kEnding = ".teacher";
constexpr std::size_t kShardBytes = std::size_t{32} << 20;
constexpr auto kUnused = std::chrono::hours(24 * 30);
constexpr float kSmallestHalf = -65504.0F;

using Hash128 = std::pair<std::uint64_t, std::uint64_t>;

std::string hexOf(XXH128_hash_t hash) {
    char digits[33];
    std::snprintf(digits, sizeof digits, "%016llx%016llx",
                  static_cast<unsigned long long>(hash.high64),
                  static_cast<unsigned long long>(hash.low64));
    return digits;
}

Hash128 hashOfSequence(std::span<const std::int32_t> ids) {
    const XXH128_hash_t hash = XXH3_128bits(ids.data(), ids.size_bytes());
    return {hash.high64, hash.low64};
}

std::int64_t bytesOfId(std::int64_t vocabulary) {
    return vocabulary <= 0x10000 ? 2 : vocabulary <= 0x1000000 ? 3 : 4;
}

std::span<const std::int32_t> idsOf(const TrainBatch& batch, const kernels::TokenSpan& s) {
    return std::span(batch.ids).subspan(static_cast<std::size_t>(s.first),
                                        static_cast<std::size_t>(s.count));
}

/// The parts of a file, in the order in which they are hashed.
struct Parts {
    std::span<const std::int64_t> keys;     ///< [sequences, 2]
    std::span<const std::int64_t> lengths;  ///< [sequences]
    std::span<const std::uint8_t> ids;      ///< [rows, top, bytes of an id], little endian
    std::span<const std::uint16_t> logits;  ///< [rows, top] half floats
    std::span<const float> rest;            ///< [rows, 2]: at the temperature, at 1

    std::string hash() const {
        XXH3_state_t* state = XXH3_createState();
        XXH3_128bits_reset(state);
        XXH3_128bits_update(state, keys.data(), keys.size_bytes());
        XXH3_128bits_update(state, lengths.data(), lengths.size_bytes());
        XXH3_128bits_update(state, ids.data(), ids.size_bytes());
        XXH3_128bits_update(state, logits.data(), logits.size_bytes());
        XXH3_128bits_update(state, rest.data(), rest.size_bytes());
        const std::string digits = hexOf(XXH3_128bits_digest(state));
        XXH3_freeState(state);
        return digits;
    }
};

/// Room of one thread to take rows apart.
class RowSplitter {
public:
    RowSplitter(std::int64_t vocabulary, std::int64_t top, float temperature)
        : m_top(top),
          m_temperature(temperature),
          m_order(static_cast<std::size_t>(vocabulary)),
          m_row(static_cast<std::size_t>(vocabulary)) {}

    /// `ids`, `logits` [top] and `rest` [2] of a row of logits.
    void split(const float* z, std::int32_t* ids, std::uint16_t* logits, float* rest) {
        const auto top = static_cast<std::ptrdiff_t>(m_top);
        std::iota(m_order.begin(), m_order.end(), 0);
        const auto likelier = [z](std::int32_t a, std::int32_t b) {
            return z[a] != z[b] ? z[a] > z[b] : a < b;
        };
        if (m_order.begin() + top < m_order.end())
            std::nth_element(m_order.begin(), m_order.begin() + top, m_order.end(), likelier);
        std::sort(m_order.begin(), m_order.begin() + top, likelier);
        const float largest = z[m_order.front()];
        std::transform(z, z + m_row.size(), m_row.begin(),
                       [largest](float v) { return v - largest; });
        constexpr float kNothing = -std::numeric_limits<float>::infinity();
        for (std::ptrdiff_t i = 0; i < top; ++i) {
            const auto id = static_cast<std::size_t>(m_order[static_cast<std::size_t>(i)]);
            ids[i] = static_cast<std::int32_t>(id);
            logits[i] = kernels::floatToHalf(std::max(m_row[id], kSmallestHalf));
            m_row[id] = kNothing;
        }
        const auto count = static_cast<std::int64_t>(m_row.size());
        rest[0] = rest[1] = kNothing;
        if (m_top == count)
            return;
        rest[1] = static_cast<float>(kernels::logSumExpRow(m_row.data(), count, 1.0F));
        rest[0] =
            m_temperature == 1
                ? rest[1]
                : static_cast<float>(static_cast<double>(m_temperature) *
                                     kernels::logSumExpRow(m_row.data(), count, m_temperature));
    }

private:
    std::int64_t m_top;
    float m_temperature;
    std::vector<std::int32_t> m_order;
    std::vector<float> m_row;
};

template <class T>
TensorToWrite tensorToWrite(const char* name, DType type, Shape shape,
                            const std::vector<T>& values) {
    return {name, type, std::move(shape),
            [&values](FileWriter& file) { file.write(values.data(), values.size() * sizeof(T)); }};
}

}  // namespace

struct TeacherCache::Shard {
    StoredTensors tensors;  ///< point into the mapped file
    Parts parts;
};

struct TeacherCache::Pending {
    std::vector<std::int64_t> keys, lengths;
    std::vector<std::uint8_t> ids;
    std::vector<std::uint16_t> logits;
    std::vector<float> rest;
    std::map<Hash, bool> known;
    std::int64_t rows() const { return static_cast<std::int64_t>(rest.size() / 2); }
    std::size_t bytes() const { return ids.size() + 2 * logits.size() + 4 * rest.size(); }
    Parts parts() const { return {keys, lengths, ids, logits, rest}; }
};

TeacherCache::TeacherCache(const fs::path& root, TeacherCacheKey key, RunControl& control)
    : m_key(std::move(key)),
      m_idBytes(bytesOfId(m_key.vocabulary)),
      m_pending(std::make_unique<Pending>()) {
    m_key.top = std::clamp<std::int64_t>(m_key.top, 1, m_key.vocabulary);
    const std::string name = fingerprint();
    m_folder = root / hexOf(XXH3_128bits(name.data(), name.size())).substr(0, 16);
    removeUnused(root, control);
    std::error_code error;
    std::vector<fs::path> files;
    for (fs::directory_iterator entry(m_folder, error), end; !error && entry != end;
         entry.increment(error))
        if (entry->path().extension() == kEnding)
            files.push_back(entry->path());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
        control.check();
        try {
            open(file);
        } catch (const EngineError& problem) {
            control.warn(std::string(problem.what()) +
                         "; the file is removed and the teacher runs again for what it held");
            fs::remove(file, error);
        }
    }
    fs::last_write_time(m_folder, fs::file_time_type::clock::now(), error);
}

TeacherCache::~TeacherCache() = default;

double TeacherCache::bytesPerToken(std::int64_t vocabulary, std::int64_t top) {
    const std::int64_t kept = std::min(top, vocabulary);
    return static_cast<double>(kept * (bytesOfId(vocabulary) + 2) + 8);
}

std::string TeacherCache::fingerprint() const {
    return "teacher " + m_key.teacher + " vocabulary " + std::to_string(m_key.vocabulary) +
           " top " + std::to_string(m_key.top) + " temperature " +
           std::to_string(m_key.temperature) + (m_key.onDevice ? " cuda" : "");
}

void TeacherCache::removeUnused(const fs::path& root, RunControl& control) const {
    std::error_code error;
    std::vector<fs::path> old;
    for (fs::directory_iterator entry(root, error), end; !error && entry != end;
         entry.increment(error)) {
        std::error_code unknown;
        const auto used = fs::last_write_time(entry->path(), unknown);
        if (!unknown && entry->is_directory(unknown) && entry->path() != m_folder &&
            fs::file_time_type::clock::now() - used > kUnused)
            old.push_back(entry->path());
    }
    for (const fs::path& folder : old) {
        // Nothing but what was written here: a folder that holds anything else stays.
        bool own = true;
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
             entry.increment(error))
            own = own && entry->path().filename().string().find(kEnding) != std::string::npos;
        if (own && !error && fs::remove_all(folder, error) > 0)
            control.info(folder.string() + ": not used for a month, removed");
    }
}

void TeacherCache::open(const fs::path& file) {
    auto shard = std::make_unique<Shard>();
    const std::shared_ptr<const MappedFile> mapped = MappedFile::open(file);
    shard->tensors = readSafetensors(mapped);
    const auto part = [&](const char* name, DType type) -> const Tensor& {
        const auto found = shard->tensors.find(name);
        if (found == shard->tensors.end() || found->second.tensor.dtype() != type)
            throwBadInput(file.string(), std::string("is no teacher cache: it has no ") + name);
        return found->second.tensor;
    };
    const auto values = [](const Tensor& tensor) {
        return static_cast<std::size_t>(tensor.elements());
    };
    const Tensor& text = part("state", DType::U8);
    const nlohmann::json state =
        parseJson({text.as<char>(), text.bytes()}, file.string() + " state");
    if (!state.is_object() || state.value("format", "") != kFormat ||
        state.value("of", "") != fingerprint())
        throwBadInput(file.string(), "is the cache of another teacher or version");
    const Tensor &keys = part("keys", DType::I64), &lengths = part("lengths", DType::I64),
                 &ids = part("ids", DType::U8), &logits = part("logits", DType::F16),
                 &rest = part("rest", DType::F32);
    Parts& parts = shard->parts;
    parts = {{keys.as<std::int64_t>(), values(keys)},
             {lengths.as<std::int64_t>(), values(lengths)},
             {ids.as<std::uint8_t>(), values(ids)},
             {logits.as<std::uint16_t>(), values(logits)},
             {rest.as<float>(), values(rest)}};
    const auto rows = static_cast<std::int64_t>(parts.rest.size() / 2);
    std::int64_t sum = 0;
    for (const std::int64_t length : parts.lengths)
        sum = length < 0 || length > rows - sum ? rows + 1 : sum + length;
    if (parts.keys.size() != 2 * parts.lengths.size() || sum != rows ||
        parts.logits.size() != static_cast<std::size_t>(rows * m_key.top) ||
        parts.ids.size() != parts.logits.size() * static_cast<std::size_t>(m_idBytes) ||
        state.value("hash", "") != parts.hash())
        throwBadInput(file.string(), "the teacher cache is damaged");
    std::int64_t row = 0;
    for (std::size_t i = 0; i < parts.lengths.size(); ++i) {
        m_places[{static_cast<std::uint64_t>(parts.keys[2 * i]),
                  static_cast<std::uint64_t>(parts.keys[2 * i + 1])}] = {m_shards.size(), row,
                                                                         parts.lengths[i]};
        row += parts.lengths[i];
    }
    m_bytes += mapped->size();
    m_tokens += rows;
    m_shards.push_back(std::move(shard));
}

void TeacherCache::add(const TrainBatch& batch, const std::function<TrainEngine&()>& teacher,
                       kernels::WorkerPool& pool, RunControl& control) {
    TrainBatch missing;
    for (const kernels::TokenSpan& s : batch.sequences) {
        const std::span<const std::int32_t> ids = idsOf(batch, s);
        const Hash hash = hashOfSequence(ids);
        if (m_places.count(hash) != 0 || !m_pending->known.emplace(hash, true).second)
            continue;
        missing.add(ids);
        m_pending->keys.push_back(static_cast<std::int64_t>(hash.first));
        m_pending->keys.push_back(static_cast<std::int64_t>(hash.second));
        m_pending->lengths.push_back(s.count);
    }
    if (missing.ids.empty())
        return;
    const std::int64_t before = m_pending->rows(), v = m_key.vocabulary, top = m_key.top;
    const std::int64_t rows = before + static_cast<std::int64_t>(missing.ids.size());
    m_pending->ids.resize(static_cast<std::size_t>(rows * top * m_idBytes));
    m_pending->logits.resize(static_cast<std::size_t>(rows * top));
    m_pending->rest.resize(static_cast<std::size_t>(rows * 2));
    teacher().eachLogits(
        missing, &control, [&](std::int64_t first, std::int64_t count, const float* logits) {
            control.check();
            pool.parallelFor(count, 4, [&](std::int64_t begin, std::int64_t end, int) {
                RowSplitter splitter(v, top, m_key.temperature);
                std::vector<std::int32_t> ids(static_cast<std::size_t>(top));
                for (std::int64_t r = begin; r < end; ++r) {
                    const std::int64_t row = before + first + r;
                    splitter.split(logits + r * v, ids.data(), m_pending->logits.data() + row * top,
                                   m_pending->rest.data() + 2 * row);
                    std::uint8_t* to = m_pending->ids.data() + row * top * m_idBytes;
                    for (const std::int32_t id : ids)
                        for (std::int64_t byte = 0; byte < m_idBytes; ++byte)
                            *to++ = static_cast<std::uint8_t>(id >> (8 * byte));
                }
            });
        });
    m_added += rows - before;
    if (m_pending->bytes() >= kShardBytes)
        flush();
}

void TeacherCache::flush() {
    if (m_pending->lengths.empty())
        return;
    const Pending& p = *m_pending;
    const std::string hash = p.parts().hash();
    const std::string state =
        nlohmann::json{{"format", kFormat}, {"of", fingerprint()}, {"hash", hash}}.dump();
    const fs::path file = m_folder / (hash.substr(0, 16) + kEnding);
    const auto sequences = static_cast<std::int64_t>(p.lengths.size());
    std::vector<TensorToWrite> tensors;
    tensors.push_back(
        {"state", DType::U8, {static_cast<std::int64_t>(state.size())}, [&state](FileWriter& out) {
             out.write(state);
         }});
    tensors.push_back(tensorToWrite("keys", DType::I64, {sequences, 2}, p.keys));
    tensors.push_back(tensorToWrite("lengths", DType::I64, {sequences}, p.lengths));
    tensors.push_back(tensorToWrite("ids", DType::U8, {p.rows(), m_key.top, m_idBytes}, p.ids));
    tensors.push_back(tensorToWrite("logits", DType::F16, {p.rows(), m_key.top}, p.logits));
    tensors.push_back(tensorToWrite("rest", DType::F32, {p.rows(), 2}, p.rest));
    StagedOutput output(file, StagedOutput::Kind::File, p.bytes() + state.size());
    writeSafetensors(output.path(), std::move(tensors), [](const std::string&, std::uint64_t) {});
    output.commit();
    m_pending = std::make_unique<Pending>();
    open(file);
}

void TeacherCache::decode(const Place& place, TeacherRows& rows) const {
    const Parts& parts = m_shards[place.shard]->parts;
    const std::int64_t top = m_key.top, first = place.row * top, count = place.rows * top;
    for (std::int64_t i = first; i < first + count; ++i) {
        std::int32_t id = 0;
        for (std::int64_t byte = 0; byte < m_idBytes; ++byte)
            id |=
                static_cast<std::int32_t>(parts.ids[static_cast<std::size_t>(i * m_idBytes + byte)])
                << (8 * byte);
        // The hash says that this was written here; an id beyond the vocabulary never was.
        rows.ids.push_back(std::min(id, static_cast<std::int32_t>(m_key.vocabulary - 1)));
        rows.logits.push_back(kernels::halfToFloat(parts.logits[static_cast<std::size_t>(i)]));
    }
    for (std::int64_t r = place.row; r < place.row + place.rows; ++r) {
        rows.rest.push_back(parts.rest[static_cast<std::size_t>(2 * r)]);
        rows.restAtOne.push_back(parts.rest[static_cast<std::size_t>(2 * r + 1)]);
    }
}

bool TeacherCache::attach(TrainBatch& batch) const {
    batch.teacher = {};
    std::vector<Place> places;
    for (const kernels::TokenSpan& s : batch.sequences) {
        const auto found = m_places.find(hashOfSequence(idsOf(batch, s)));
        if (found == m_places.end() || found->second.rows != s.count)
            return false;
        places.push_back(found->second);
    }
    batch.teacher.top = m_key.top;
    batch.teacher.vocabulary = m_key.vocabulary;
    batch.teacher.temperature = m_key.temperature;
    batch.teacher.ids.reserve(batch.ids.size() * static_cast<std::size_t>(m_key.top));
    batch.teacher.logits.reserve(batch.teacher.ids.capacity());
    for (const Place& place : places)
        decode(place, batch.teacher);
    return true;
}

CachedTeacherSource::CachedTeacherSource(BatchSource& inner, const TeacherCache& cache)
    : m_inner(inner), m_cache(cache), m_validation(inner.validation()) {
    for (TrainBatch& batch : m_validation)
        cache.attach(batch);
}

TrainBatch CachedTeacherSource::next() {
    TrainBatch batch = m_inner.next();
    m_cache.attach(batch);
    return batch;
}

std::string CachedTeacherSource::fingerprint() const {
    return m_inner.fingerprint() + " " + m_cache.fingerprint();
}

void fillTeacherCache(TeacherCache& cache, BatchSource& data, std::int64_t batches,
                      const std::function<TrainEngine&()>& teacher, kernels::WorkerPool& pool,
                      RunControl& control) {
    for (const TrainBatch& batch : data.validation())
        cache.add(batch, teacher, pool, control);
    const double start = steadySeconds();
    for (std::int64_t i = 0; i < batches && data.position().epoch == 0; ++i) {
        const std::int64_t before = cache.added();
        cache.add(data.next(), teacher, pool, control);
        const double seconds = std::max(1e-9, steadySeconds() - start);
        control.progress(static_cast<double>(i + 1) / static_cast<double>(batches),
                         "the teacher's predictions",
                         cache.added() > before ? static_cast<double>(cache.added()) / seconds : 0);
    }
    cache.flush();
    data.seek({});
}

}  // namespace fettle
