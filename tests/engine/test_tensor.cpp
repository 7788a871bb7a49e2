// Tensors, quantization schemes and the float forms of weights.
#include <gtest/gtest.h>

#include "engine/core/error.h"
#include "engine/tensor/weight.h"

namespace fettle {
namespace {

TEST(Tensor, CountsElementsAndNoticesOverflow) {
    EXPECT_EQ(elementCount({}), 1);
    EXPECT_EQ(elementCount({3, 4}), 12);
    EXPECT_EQ(elementCount({3, 0}), 0);
    EXPECT_EQ(elementCount({-1, 4}), -1);
    EXPECT_EQ(elementCount({std::int64_t{1} << 40, std::int64_t{1} << 40}), -1);
    EXPECT_EQ(toString(Shape{2, 3}), "[2, 3]");
}

TEST(Tensor, IsZeroedAlignedAndShared) {
    Tensor tensor = Tensor::allocate(DType::F32, {3, 5});
    EXPECT_EQ(tensor.bytes(), 60u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data()) % 64, 0u);
    for (int i = 0; i < 15; ++i)
        EXPECT_EQ(tensor.as<float>()[i], 0);
    tensor.mutableAs<float>()[14] = 2;
    const Tensor other = tensor.reshaped({15});
    EXPECT_EQ(other.as<float>()[14], 2);
    EXPECT_THROW(tensor.reshaped({16}), EngineError);
    EXPECT_EQ(tensor.slice(56, 4).as<float>()[0], 2);
    EXPECT_THROW(tensor.slice(57, 4), EngineError);
    tensor.dropPages();  // a buffer keeps its values
    EXPECT_EQ(tensor.as<float>()[14], 2);
}

TEST(Tensor, RefusesImpossibleSizes) {
    try {
        Tensor::allocate(DType::F32, {std::int64_t{1} << 61, 8});
        FAIL();
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
    }
}

TEST(QuantScheme, KnowsItsNames) {
    EXPECT_TRUE(findQuantScheme("int8")->quantizesActivations());
    EXPECT_FALSE(findQuantScheme("w8a16")->quantizesActivations());
    EXPECT_EQ(findQuantScheme("int4-g128")->groupSize, 128);
    EXPECT_FALSE(findQuantScheme("int4-g32-asym")->symmetric);
    EXPECT_EQ(findQuantScheme("q4_k")->format, kernels::WeightFormat::Q4_K);
    for (const char* unknown :
         {"", "int4", "int4-g", "int4-g12", "int4-g032", "int4-g32x", "int3-g8", "int2-g48",
          "int3-g32-asym", "int5-g32", "int3-channel", "nvfp4-a8", "int4-g32-a4-asym", "int4-g8-a8",
          "int4-a8", "w8a16-a8", "mxfp4-g32"})
        EXPECT_FALSE(findQuantScheme(unknown)) << unknown;
    for (const char* known : {"int8",         "w8a16",         "int4-channel",
                              "int4-g8",      "int4-g32-asym", "int4-g32-asym-a8",
                              "int4-g128-a8", "int4-g32-a4",   "int3-g96",
                              "int2-g32-a8",  "fp8",           "fp8-tensor",
                              "fp8-block128", "nvfp4",         "nvfp4-w4a16",
                              "mxfp4",        "mxfp4-w4a16",   "mxfp8",
                              "mxfp8-w8a16",  "mxfp6-w6a16",   "nf4",
                              "nf4-g32",      "q6_k"}) {
        ASSERT_TRUE(findQuantScheme(known)) << known;
        EXPECT_EQ(findQuantScheme(known)->id, known);
    }
}

TEST(QuantScheme, SaysWhatHappensToActivations) {
    using A = ActivationFormat;
    const auto prescribed = [](const char* id) { return findQuantScheme(id)->activations; };
    const auto computed = [](const char* id, std::int64_t cols) {
        return findQuantScheme(id)->kernelActivations(cols);
    };
    EXPECT_EQ(prescribed("int8"), A::Int8Token);
    EXPECT_EQ(prescribed("w8a16"), A::None);
    EXPECT_EQ(prescribed("int3-g64"), A::None);
    EXPECT_EQ(prescribed("nvfp4-w4a16"), A::None);
    EXPECT_EQ(computed("int8", 64), A::Int8Token);
    EXPECT_EQ(computed("w8a16", 64), A::Int8Group32);
    EXPECT_EQ(computed("w8a16", 65), A::Int8Token);
    EXPECT_EQ(computed("int3-g64", 64), A::Int8Group32);
    EXPECT_EQ(computed("int4-g32-a8", 64), A::Int8Token);
    EXPECT_EQ(computed("int4-g32-a4", 64), A::Int4Group32);
    EXPECT_EQ(computed("fp8", 64), A::Fp8Token);
    EXPECT_EQ(computed("nvfp4", 64), A::NvFp4);
    EXPECT_EQ(computed("nvfp4-w4a16", 64), A::Int8Group32);
    EXPECT_EQ(computed("mxfp4", 64), A::MxFp4);
    EXPECT_EQ(computed("mxfp8", 64), A::MxFp8);
    EXPECT_EQ(computed("nf4", 64), A::None);
    EXPECT_EQ(computed("mxfp8-w8a16", 64), A::None);
    EXPECT_EQ(computed("q4_k", 256), A::Int8Group32);
}

TEST(QuantScheme, CountsBitsWithScales) {
    EXPECT_DOUBLE_EQ(findQuantScheme("int4-g32")->bitsPerWeight(256), 4.5);
    EXPECT_DOUBLE_EQ(findQuantScheme("int4-g128-asym")->bitsPerWeight(256), 4 + 20.0 / 128);
    EXPECT_DOUBLE_EQ(findQuantScheme("int8")->bitsPerWeight(256), 8 + 16.0 / 256);
    EXPECT_DOUBLE_EQ(findQuantScheme("int3-g128")->bitsPerWeight(256), 3.125);
    EXPECT_DOUBLE_EQ(findQuantScheme("int2-g64")->bitsPerWeight(256), 2.25);
    EXPECT_DOUBLE_EQ(findQuantScheme("nvfp4")->bitsPerWeight(256), 4.5);
    EXPECT_DOUBLE_EQ(findQuantScheme("mxfp4")->bitsPerWeight(256), 4.25);
    EXPECT_DOUBLE_EQ(findQuantScheme("mxfp8-w8a16")->bitsPerWeight(256), 8.25);
    EXPECT_DOUBLE_EQ(findQuantScheme("mxfp6-w6a16")->bitsPerWeight(256), 6.25);
    EXPECT_DOUBLE_EQ(findQuantScheme("nf4")->bitsPerWeight(256), 4.25);
    EXPECT_DOUBLE_EQ(findQuantScheme("q8_0")->bitsPerWeight(256), 8.5);
    EXPECT_DOUBLE_EQ(findQuantScheme("q6_k")->bitsPerWeight(256), 6.5625);
}

TEST(Weight, DequantizesChannelsAndGroups) {
    QuantizedTensor bytes;
    bytes.scheme = *findQuantScheme("int8");
    bytes.rows = 2;
    bytes.cols = 3;
    bytes.codes = Tensor::allocate(DType::I8, {2, 3});
    bytes.scales = Tensor::allocate(DType::F32, {2, 1});
    for (int i = 0; i < 6; ++i)
        bytes.codes.mutableAs<std::int8_t>()[i] = static_cast<std::int8_t>(i - 3);
    bytes.scales.mutableAs<float>()[0] = 0.5f;
    bytes.scales.mutableAs<float>()[1] = 2;
    const Weight channel(bytes);
    EXPECT_EQ(channel.toFloat(), (std::vector<float>{-1.5f, -1, -0.5f, 0, 2, 4}));
    EXPECT_EQ(channel.typeName(), "int8");
    EXPECT_EQ(channel.bytes(), 14u);

    QuantizedTensor nibbles;
    nibbles.scheme = int4Scheme(8, false);
    nibbles.rows = 1;
    nibbles.cols = 16;
    nibbles.codes = Tensor::allocate(DType::I32, {1, 2});
    nibbles.codes.mutableAs<std::uint32_t>()[0] = 0x76543210;
    nibbles.codes.mutableAs<std::uint32_t>()[1] = 0xFEDCBA98;
    nibbles.scales = Tensor::allocate(DType::F32, {1, 2});
    nibbles.scales.mutableAs<float>()[0] = 1;
    nibbles.scales.mutableAs<float>()[1] = 0.5f;
    nibbles.zeroPoints = Tensor::allocate(DType::I32, {1, 2});
    nibbles.zeroPoints.mutableAs<std::uint32_t>()[0] = 3;
    nibbles.zeroPoints.mutableAs<std::uint32_t>()[1] = 8;
    EXPECT_EQ(Weight(nibbles).toFloat(),
              (std::vector<float>{-3, -2, -1, 0, 1, 2, 3, 4, 0, 0.5f, 1, 1.5f, 2, 2.5f, 3, 3.5f}));
}

TEST(Weight, HasNoMatrixFormForIntegers) {
    EXPECT_THROW(Weight(Tensor::allocate(DType::I32, {2, 2})).view(), EngineError);
    EXPECT_TRUE(Weight().empty());
}

}  // namespace
}  // namespace fettle
